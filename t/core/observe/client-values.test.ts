// Which values of clients become labels.
import assert from 'node:assert/strict'
import { ClientValues } from '../../../core/observe/client-values.ts'

describe('values that clients choose', () => {
  it('are themselves up to a hundred, and other from there on, for good', () => {
    const models = new ClientValues()
    for (let round = 0; round < 2; round++) {
      for (let n = 0; n < 150; n++) assert.equal(models.bounded(`m${n}`), n < 100 ? `m${n}` : 'other')
    }
    assert.equal(models.bounded(''), '')
  })

  it('are always themselves while they are configured, however many clients have made up before', () => {
    const models = new ClientValues()
    for (let n = 0; n < 100; n++) models.bounded(`made-up-${n}`)
    const first = models.configured('gpt')
    const second = models.configured('gpt')
    assert.equal(models.bounded('gpt'), 'gpt')
    first()
    first()
    assert.equal(models.bounded('gpt'), 'gpt')
    second()
    assert.equal(models.bounded('gpt'), 'other')
  })

  it('take no place of the hundred when they are configured', () => {
    const models = new ClientValues()
    models.configured('gpt')
    models.bounded('gpt')
    for (let n = 0; n < 100; n++) assert.equal(models.bounded(`m${n}`), `m${n}`)
  })
})
