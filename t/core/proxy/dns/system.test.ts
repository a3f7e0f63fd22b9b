// Hosts files, search domains, and the names that are tried.
import assert from 'node:assert/strict'
import { candidates, parseHosts, parseSearch } from '../../../../core/proxy/dns/system.ts'

describe('a hosts file', () => {
  it('gives each name its addresses, IPv4 first, whatever its case', () => {
    const hosts = parseHosts(
      [
        '# 9.9.9.9 commented.test',
        '::1 localhost Both.Test',
        '127.0.0.1\tlocalhost both.test # 8.8.8.8',
        '10.0.0.1 both.test',
        '10.0.0.1 both.test',
        'nonsense here.test',
        '',
      ].join('\n'),
    )
    assert.deepEqual(Object.fromEntries(hosts), {
      localhost: ['127.0.0.1', '::1'],
      'both.test': ['127.0.0.1', '10.0.0.1', '::1'],
    })
  })
})

describe('a resolv.conf', () => {
  it('says by its last list which domains are searched, and for which names first', () => {
    const text = 'search old.test\nnameserver 10.0.0.1\nsearch one.test two.test. ; note\noptions timeout:1 ndots:3\n'
    assert.deepEqual(parseSearch(text), { domains: ['one.test', 'two.test'], ndots: 3 })
    assert.deepEqual(parseSearch('domain my.test'), { domains: ['my.test'], ndots: 1 })
    assert.deepEqual(parseSearch('search .\noptions ndots:99'), { domains: [], ndots: 15 })
    assert.deepEqual(parseSearch(''), { domains: [], ndots: 1 })
  })

  it('has names with few dots tried with its domains first', () => {
    const rules = { domains: ['one.test', 'two.test'], ndots: 2 }
    assert.deepEqual(candidates('a', rules), ['a.one.test', 'a.two.test', 'a'])
    assert.deepEqual(candidates('a.b', rules), ['a.b.one.test', 'a.b.two.test', 'a.b'])
    assert.deepEqual(candidates('a.b.c', rules), ['a.b.c', 'a.b.c.one.test', 'a.b.c.two.test'])
    assert.deepEqual(candidates('a.', rules), ['a'])
  })
})
