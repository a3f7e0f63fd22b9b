// What the configuration says of families, as those that declare them see it.
import assert from 'node:assert/strict'
import { familyTraits } from '../../../core/observe/family-traits.ts'

describe('the traits of a family', () => {
  const extraLabels = [{ label: 'tenant', variable: 'http_x_tenant' }]

  it('are nothing where nothing is said', () => {
    assert.deepEqual(familyTraits({ http_status: { extraLabels } })('bandwidth'), { extra: [], buckets: undefined })
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
})
