// What the configuration says of families, as those that declare them see it.
import assert from 'node:assert/strict'
import { familyTraits } from '../../../core/observe/family-traits.ts'

describe('the traits of a family', () => {
  const extraLabels = [{ label: 'tenant', variable: 'http_x_tenant' }]

  it('are nothing where nothing is said', () => {
    assert.deepEqual(familyTraits({ http_status: { extraLabels } })('bandwidth'), {
      extra: [],
      buckets: undefined,
      expires: false,
    })
  })

  it('let a variable have a thousand values, in all families together', () => {
    const of = familyTraits({ http_status: { extraLabels }, bandwidth: { extraLabels } })
    const [status, bandwidth] = ['http_status', 'bandwidth'].map(name => of(name).extra[0]!.source)
    for (let n = 0; n < 1_000; n++) assert.equal((n % 2 ? status : bandwidth)!.bounded(`t${n}`), `t${n}`)
    assert.equal(status!.bounded('t1000'), 'other')
    assert.equal(bandwidth!.bounded('t1000'), 'other')
    assert.equal(status!.bounded('t0'), 't0')
    assert.equal(status!.bounded(''), '')
  })

  it('let a variable have other values when those of before can have gone, and not where some never go', () => {
    let now = 0
    const settings = { http_status: { extraLabels, expireMs: 1_000 }, bandwidth: { extraLabels, expireMs: 2_000 } }
    const source = familyTraits(settings, () => now)('http_status').extra[0]!.source
    for (let n = 0; n < 1_000; n++) source.bounded(`t${n}`)
    now = 1_999
    assert.equal(source.bounded('new'), 'other')
    now = 2_000
    assert.equal(source.bounded('new'), 'new')
    const lasting = familyTraits({ ...settings, llm_latency: { extraLabels } }, () => now)('http_status').extra[0]!
      .source
    for (let n = 0; n < 1_000; n++) lasting.bounded(`t${n}`)
    now = 1e12
    assert.equal(lasting.bounded('new'), 'other')
  })
})
