// The verbs of the admin API, over HTTP: what is answered, what is stored, when it is answered.
import assert from 'node:assert/strict'
import { kinds } from '../../admin/kinds.ts'
import { adminKey, type Reply, startAdmin, type TestAdmin, viewerKey } from '../helpers/admin.ts'
import { nodes, sampleList } from '../helpers/samples.ts'
import { until } from '../helpers/until.ts'

const notFound = { message: 'Key not found' }

function isError(reply: Reply, status: number, message: string): void {
  assert.deepEqual([reply.status, reply.json], [status, { error_msg: message }])
}

describe('items', () => {
  let api: TestAdmin
  let now = 1_700_000_000_000
  let applied: number[] = []
  let apply: (revision: number) => Promise<void> = async () => {}

  beforeEach(async () => {
    now = 1_700_000_000_000
    applied = []
    apply = async revision => {
      applied.push(revision)
    }
    api = await startAdmin({ now: () => now, applied: revision => apply(revision) })
  })
  afterEach(() => api.close())

  for (const [kind, { collection, id, value, first, change }] of sampleList) {
    const { name, timed, verbs, idAttribute } = kinds.find(row => row.kind === kind)!
    const times = (update_time: number) => (timed ? { create_time: 1_700_000_000, update_time } : {})
    const owner = kind === 'graphql_cost_decorations' ? { service_id: 's2' } : {}
    const stored = (more: object, update_time: number) => ({
      ...value,
      ...more,
      ...(idAttribute === 'id' && { id }),
      ...owner,
      ...times(update_time),
    })

    describe(`of ${kind}`, () => {
      const key = `/apisix/${collection}/${id}`
      const path = `/${collection}/${id}`
      let before = 0

      beforeEach(async () => {
        if (first !== undefined) assert.equal((await api.admin('PUT', ...first)).status, 201)
        before = (await api.store.list()).revision
      })

      /** What only PUT answers with, as ciphertext. */
      const secretless = ({ plugins: _, key: __, ...rest }: Record<string, unknown>) => rest

      it('are created with 201, changed with 200, read, listed and deleted', async () => {
        const created = await api.admin('PUT', path, value)
        assert.deepEqual([created.status, created.json.key], [201, key])
        assert.deepEqual(secretless(created.json.value), secretless(stored({}, 1_700_000_000)))

        now += 5_000
        const [attribute, other] = change
        const changed = await api.admin('PUT', path, { ...value, [attribute]: other })
        const renewed = stored({ [attribute]: other }, 1_700_000_005)
        assert.deepEqual([changed.status, secretless(changed.json.value)], [200, secretless(renewed)])

        const { key: hidden, ...rest } = renewed as Record<string, unknown>
        const shown = kind === 'ssls' ? rest : renewed
        assert.equal(hidden === undefined, kind !== 'ssls')
        const item = { key, value: shown, createdIndex: before + 1, modifiedIndex: before + 2 }
        const read = await api.admin('GET', path)
        assert.deepEqual([read.status, read.json], [200, item])
        const list = await api.admin('GET', `/${collection}`)
        assert.deepEqual([list.status, list.json], [200, { total: 1, list: [item] }])

        const deleted = await api.admin('DELETE', path)
        assert.deepEqual([deleted.status, deleted.json], [200, { deleted: '1', key }])
        assert.equal((await api.admin('GET', path)).status, 404)
      })

      it('are refused without a body, without an id, and when they are wrong, and then nothing is stored', async () => {
        isError(await api.admin('PUT', path), 400, 'missing configurations')
        isError(await api.admin('PUT', path, 'null'), 400, 'missing configurations')
        if (kind !== 'plugin_metadata' && kind !== 'secrets') {
          const said = 'invalid configuration: additional properties forbidden, found nobody'
          isError(await api.admin('PUT', path, { ...value, nobody: 1 }), 400, said)
        }
        const list = 'invalid configuration: wrong type: expected object, got table'
        isError(await api.admin('PUT', path, [value]), 400, list)
        isError(await api.admin('DELETE', `/${collection}`), 400, `missing ${name} id`)
        if (kind === 'consumers') {
          const missing = 'invalid configuration: property "username" is required'
          isError(await api.admin('PUT', '/consumers', {}), 400, missing)
        } else {
          const what = kind === 'plugin_metadata' ? 'plugin name' : `${name} id`
          isError(await api.admin('PUT', `/${collection}`, value), 400, `missing ${what}`)
        }
        assert.equal((await api.store.list()).revision, before)
      })

      it('take their key from the body too, and refuse two keys', async () => {
        const named = await api.admin('PUT', `/${collection}`, { ...value, [idAttribute]: id })
        assert.deepEqual([named.status, named.json.key], [201, key], named.text)
        const wrong = idAttribute === 'username' ? 'wrong username' : `wrong ${name} id`
        isError(await api.admin('PUT', path, { ...value, [idAttribute]: 'other' }), 400, wrong)
      })

      if (timed) {
        it('are not described by a time that the client chose', async () => {
          const body = { ...value, create_time: 1, upstream: { nodes, update_time: 1 }, plugins: { create_time: 1 } }
          const said = 'the property is forbidden:  create_time upstream.update_time plugins.create_time'
          isError(await api.admin('PUT', path, body), 400, said)
          if (verbs.has('POST')) isError(await api.admin('POST', `/${collection}`, body), 400, said)
        })
      }

      if (verbs.has('POST')) {
        it('get an id of 20 digits from POST', async () => {
          const [one, two] = [
            await api.admin('POST', `/${collection}`, value),
            await api.admin('POST', `/${collection}`, value),
          ]
          assert.deepEqual([one.status, two.status], [201, 201])
          assert.match(one.json.value.id, /^\d{20}$/)
          assert.ok(one.json.value.id < two.json.value.id)
          assert.equal(one.json.key, `/apisix/${collection}/${one.json.value.id}`)
          assert.equal((await api.admin('GET', `/${collection}/${one.json.value.id}`)).status, 200)
          const needless = `wrong ${name} id, do not need it`
          isError(await api.admin('POST', `/${collection}/1`, value), 400, needless)
          isError(await api.admin('POST', `/${collection}`, { ...value, id: 1 }), 400, needless)
          isError(await api.admin('POST', `/${collection}`), 400, 'missing configurations')
        })
      }

      if (verbs.has('PATCH')) {
        it('are changed in part by PATCH', async () => {
          const missing = kind === 'secrets' ? 'no secret id' : `missing ${name} id`
          isError(await api.admin('PATCH', `/${collection}`, {}), 400, missing)
          assert.deepEqual((await api.admin('PATCH', path, {})).json, notFound)
          await api.admin('PUT', path, value)
          now += 5_000
          const [attribute, other] = change
          const whole = await api.admin('PATCH', path, { [attribute]: other })
          const merged = attribute === 'plugins' ? value.plugins : other
          assert.equal(whole.status, 200, whole.text)
          assert.deepEqual(secretless(whole.json.value), secretless(stored({ [attribute]: merged }, 1_700_000_005)))
          isError(await api.admin('PATCH', path), 400, 'missing new configuration')
          isError(await api.admin('PATCH', path, '[]'), 400, 'invalid configuration')
          isError(await api.admin('PATCH', path, '5'), 400, 'invalid configuration')
          isError(await api.admin('PATCH', path, { id: 'other' }), 400, `wrong ${name} id`)
          assert.equal((await api.store.list()).revision, before + 2)
        })
      }
    })
  }

  it('come back exactly as they were sent, plus id and times', async () => {
    const value = {
      uri: '/a',
      labels: { b: 'x', a: 'y' },
      upstream: { nodes: [{ host: 'a', weight: 1 }], type: 'roundrobin' },
    }
    await api.admin('PUT', '/routes/1', value)
    const { id, create_time, update_time, ...rest } = (await api.admin('GET', '/routes/1')).json.value
    assert.equal(JSON.stringify(rest), JSON.stringify(value))
    assert.deepEqual([id, create_time, update_time], ['1', 1_700_000_000, 1_700_000_000])
  })

  it('keep a number as their id when the client sent one', async () => {
    const reply = await api.admin('PUT', '/routes', { id: 7, uri: '/a', plugins: {} })
    assert.equal(reply.json.key, '/apisix/routes/7')
    assert.strictEqual((await api.admin('GET', '/routes/7')).json.value.id, 7)
    assert.equal((await api.admin('PUT', '/routes/7', { id: 7, uri: '/b', plugins: {} })).status, 200)
  })

  it('are not made under a name that is no id', async () => {
    for (const id of ['a%20b', 'a%2Fb', 'x'.repeat(65), '%C3%BC']) {
      const reply = await api.admin('PUT', `/routes/${id}`, { uri: '/a', plugins: {} })
      assert.equal(reply.status, 400)
      assert.match(reply.json.error_msg, /^invalid configuration: property "id" validation failed/)
    }
    assert.equal((await api.admin('GET', '/routes/%E0%A4%A')).status, 400)
  })

  describe('under PATCH', () => {
    beforeEach(async () => {
      await api.admin('PUT', '/routes/1', {
        uri: '/a',
        desc: 'x',
        labels: { a: 'b' },
        methods: ['GET', 'POST'],
        upstream: { nodes: { 'a:1': 1, 'b:2': 2 } },
      })
    })

    it('lose what is null, get what is new, and have lists replaced', async () => {
      const patch = {
        desc: null,
        labels: { a: null, c: 'd' },
        methods: ['PUT'],
        upstream: { nodes: { 'a:1': null, 'c:3': 3 } },
      }
      const { value } = (await api.admin('PATCH', '/routes/1', patch)).json
      assert.equal('desc' in value, false)
      assert.deepEqual(value.labels, { c: 'd' })
      assert.deepEqual(value.methods, ['PUT'])
      assert.deepEqual(value.upstream.nodes, { 'b:2': 2, 'c:3': 3 })
    })

    it('have what a path leads to replaced by any JSON', async () => {
      const at = async (path: string, body: unknown) => (await api.admin('PATCH', `/routes/1${path}`, body)).json.value
      assert.deepEqual((await at('/upstream/nodes', { 'c:3': 3 })).upstream.nodes, { 'c:3': 3 })
      assert.deepEqual((await at('/methods', ['PUT'])).methods, ['PUT'])
      assert.deepEqual((await at('/desc', '"y"')).desc, 'y')
      assert.deepEqual((await at('/labels/new', '"v"')).labels, { a: 'b', new: 'v' })
      assert.deepEqual((await at('/timeout', { connect: 1, send: 1, read: 1 })).timeout, {
        connect: 1,
        send: 1,
        read: 1,
      })
      assert.deepEqual((await at('/plugins/late/n', '1')).plugins, { late: { n: 1 } })
    })

    it('are replaced whole by a path that ends in a slash', async () => {
      now += 1_000
      const { value } = (await api.admin('PATCH', '/routes/1/plugins/', { uri: '/new', plugins: {} })).json
      const times = { create_time: 1_700_000_000, update_time: 1_700_000_001 }
      assert.deepEqual(value, { id: '1', uri: '/new', plugins: {}, ...times })
      const timed = (await api.admin('PATCH', '/routes/1/plugins/', { uri: '/new', plugins: {}, update_time: 5 })).json
      assert.equal(timed.value.update_time, 5)
      isError(await api.admin('PATCH', '/routes/1/plugins/', '[]'), 400, 'invalid configuration')
    })

    it('stay as they are when a path leads nowhere or the result is wrong', async () => {
      const before = (await api.admin('GET', '/routes/1')).text
      isError(await api.admin('PATCH', '/routes/1/desc/x/y', {}), 400, 'invalid sub-path: /desc')
      isError(
        await api.admin('PATCH', '/routes/1/upstream/nodes/a:1/x', '1'),
        400,
        'invalid sub-path: /upstream/nodes/a:1',
      )
      isError(await api.admin('PATCH', '/routes/1/methods/0', '"GET"'), 400, 'invalid sub-path: /methods')
      assert.equal((await api.admin('PATCH', '/routes/1', { uri: null })).status, 400)
      isError(
        await api.admin('PATCH', '/routes/1/plugins/__proto__', { polluted: 1 }),
        400,
        'invalid configuration: the name __proto__ is not allowed',
      )
      assert.equal(({} as Record<string, unknown>).polluted, undefined)
      assert.equal((await api.admin('GET', '/routes/1')).text, before)
    })

    it('may be given times, and are given a new update_time when not', async () => {
      now += 9_000
      const given = (await api.admin('PATCH', '/routes/1', { create_time: 1, update_time: 2 })).json.value
      assert.deepEqual([given.create_time, given.update_time], [1, 2])
      const fresh = (await api.admin('PATCH', '/routes/1', {})).json.value
      assert.deepEqual([fresh.create_time, fresh.update_time], [1, 1_700_000_009])
      assert.equal((await api.admin('PATCH', '/routes/1/update_time', '3')).json.value.update_time, 3)
      assert.equal((await api.admin('PATCH', '/routes/1', { update_time: 'x' })).status, 400)
    })

    it('are not overwritten when somebody else has changed them meanwhile', async () => {
      api.store.beforeWrite = async changes => {
        api.store.beforeWrite = () => {}
        await api.store.write([{ ...changes[0]!, value: { uri: '/theirs', plugins: {} } }])
      }
      isError(await api.admin('PATCH', '/routes/1', { desc: 'mine' }), 503, 'value changed before overwritten')
      assert.equal((await api.admin('GET', '/routes/1')).json.value.uri, '/theirs')
    })
  })

  it('get another id when somebody else has taken the one that POST chose', async () => {
    api.store.beforeWrite = async changes => {
      api.store.beforeWrite = () => {}
      await api.store.write(changes)
    }
    const reply = await api.admin('POST', '/routes', { uri: '/a', plugins: {} })
    assert.equal(reply.status, 201)
    assert.equal((await api.store.list()).items.length, 2)
  })

  it('live as long as ttl says', async () => {
    const value = { uri: '/a', plugins: {} }
    isError(await api.admin('PUT', '/routes/1?ttl=abc', value), 400, 'invalid argument ttl: should be a number')
    isError(await api.admin('PUT', '/routes/1?ttl=', value), 400, 'invalid argument ttl: should be a number')
    for (const ttl of ['0', '-1', '1e99', '0.5']) {
      const said = 'invalid argument ttl: should be between 1 and 1000000000 seconds'
      isError(await api.admin('PUT', `/routes/1?ttl=${ttl}`, value), 400, said)
    }
    assert.equal((await api.store.list()).revision, 0)
    assert.equal((await api.admin('PUT', '/routes/1?ttl=1', value)).status, 201)
    assert.equal((await api.admin('POST', '/routes?ttl=1', value)).status, 201)
    assert.equal((await api.admin('PUT', '/routes/2', value)).status, 201)
    assert.equal((await api.admin('PATCH', '/routes/2?ttl=1', {})).status, 200)
    await until(async () => (await api.admin('GET', '/routes')).json.total === 0, 'all three are gone')
  })

  it('are answered for only when the data plane has them', async () => {
    const waiting: (() => void)[] = []
    apply = () => new Promise(resolve => waiting.push(resolve))
    let answered = false
    const put = api.admin('PUT', '/routes/1', { uri: '/a', plugins: {} }).then(reply => {
      answered = true
      return reply
    })
    await until(() => waiting.length === 1, 'the write is done')
    // Others need not wait for the data plane.
    const other = api.admin('PUT', '/routes/2', { uri: '/a', plugins: {} })
    await until(() => waiting.length === 2, 'the second write is done')
    assert.equal(answered, false)
    for (const go of waiting) go()
    assert.deepEqual([(await put).status, (await other).status], [201, 201])
  })

  it('are waited for at the revision of their write, and not at all when nothing was written', async () => {
    await api.admin('PUT', '/routes/1', { uri: '/a', plugins: {} })
    await api.admin('PATCH', '/routes/1', { desc: 'x' })
    await api.admin('PUT', '/routes/1', {})
    await api.admin('GET', '/routes/1')
    await api.admin('DELETE', '/routes/1')
    await api.admin('DELETE', '/routes/1')
    assert.deepEqual(applied, [1, 2, 3])
  })

  describe('with secrets', () => {
    const config = { provider: 'openai', auth: { header: { Authorization: 'Bearer top-secret' } } }
    const route = { uri: '/a', plugins: { 'ai-proxy': config } }

    it('are stored and answered as ciphertext, read in clear by an admin and masked by a viewer', async () => {
      const put = await api.admin('PUT', '/routes/1', route)
      assert.match(put.json.value.plugins['ai-proxy'].auth.header.Authorization, /^v2:/)
      const stored = await api.store.get('routes', '1')
      assert.ok(!JSON.stringify(stored).includes('top-secret'))
      const secretFor = async (key: string) => {
        const one = (await api.admin('GET', '/routes/1', undefined, key)).json.value
        const [listed] = (await api.admin('GET', '/routes', undefined, key)).json.list
        assert.deepEqual(listed.value, one)
        return one.plugins['ai-proxy'].auth.header.Authorization as string
      }
      assert.equal(await secretFor(adminKey), 'Bearer top-secret')
      assert.equal(await secretFor(viewerKey), '***')
    })

    it('stay readable when something else is patched', async () => {
      await api.admin('PUT', '/routes/1', route)
      const patched = await api.admin('PATCH', '/routes/1', { desc: 'x' })
      assert.match(patched.json.value.plugins['ai-proxy'].auth.header.Authorization, /^v2:/)
      const { value } = (await api.admin('GET', '/routes/1')).json
      assert.deepEqual(value.plugins['ai-proxy'], config)
    })
  })

  it('cost the same to write whatever else there is', async () => {
    let reads = 0
    for (const name of ['get', 'list'] as const) {
      const real = api.store[name].bind(api.store) as (...of: unknown[]) => Promise<never>
      Object.assign(api.store, {
        [name]: (...of: unknown[]) => {
          reads += name === 'list' ? 1_000_000 : 1
          return real(...of)
        },
      })
    }
    await api.admin('PUT', '/services/s', { upstream: { nodes } })
    const route = { uri: '/a', service_id: 's', plugins: { late: {} } }
    const cost = async () => {
      reads = 0
      for (const [verb, path, body] of [
        ['PUT', '/routes/new', route],
        ['PATCH', '/routes/new', { desc: 'x' }],
        ['PUT', '/consumers/jack', { username: 'jack', plugins: { 'key-auth': { key: 'k' } } }],
        ['PUT', '/upstreams/u', { nodes }],
        ['DELETE', '/upstreams/u', undefined],
        ['DELETE', '/consumers/jack', undefined],
        ['DELETE', '/routes/new', undefined],
      ] as const) {
        const reply = await api.admin(verb, path, body)
        assert.ok(reply.status < 300, reply.text)
      }
      return reads
    }
    const alone = await cost()
    await api.store.write(
      Array.from({ length: 2_000 }, (_, at) => ({ kind: 'routes', id: `r${at}`, value: { ...route, id: `r${at}` } })),
    )
    assert.equal(await cost(), alone)
    assert.ok(alone < 30, `${alone} reads`)
  })
})
