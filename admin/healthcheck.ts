// What health checks have found, at the control API (facts core 5.6): in JSON, or as a page; knows no checker.
import Router from '@koa/router'
import type { CheckedUpstream } from '../core/proxy/health/keeper.ts'
import type { Item } from '../core/store/store.ts'
import { refuse, send } from './answer.ts'
import type { Catalogue } from './catalogue.ts'

const sources = ['routes', 'services', 'upstreams', 'stream_routes'] as const

export interface HealthcheckDeps {
  catalogue: Pick<Catalogue, 'get'>
  /** Every upstream that is checked, by the key of the item that it stands on. */
  checked(): readonly CheckedUpstream[]
}

export function healthcheck({ catalogue, checked }: HealthcheckDeps): Router {
  const router = new Router({ prefix: '/v1/healthcheck' })

  router.get('/', ctx => {
    if (ctx.accepts('json', 'html') !== 'html') return send(ctx, 200, checked())
    send(ctx, 200, page(checked()))
    ctx.set('Content-Type', 'text/html; charset=utf-8')
  })
  router.get('/:type{/:id}', ctx => {
    const { type = '', id } = ctx.params
    const source = sources.find(each => each === type)
    if (source === undefined) throw refuse(400, `invalid src type ${type}`)
    if (id === undefined) throw refuse(404, `missing src id for src type ${type}`)
    const item: Item | undefined = catalogue.get(source, id)
    if (item === undefined) throw refuse(404, `${type}[${id}] not found`)
    const found = checked().find(({ name }) => name === `/apisix/${type}/${id}`)
    if (found === undefined) throw refuse(404, `no checker for ${type}[${id}]`)
    send(ctx, 200, found)
  })
  return router
}

/** A table, a row for each node. */
function page(upstreams: readonly CheckedUpstream[]): string {
  const title = 'APISIX upstream check status'
  const head = ['Upstream', 'Check type', 'Host', 'Status', 'Success', 'TCP failures', 'HTTP failures', 'Timeouts']
  const rows = upstreams.flatMap(({ name, type, nodes }) =>
    nodes.map(({ ip, port, hostname, status, counter }) => {
      const { success, tcp_failure, http_failure, timeout_failure } = counter
      const host = hostname === ip ? `${ip}:${port}` : `${hostname} ${ip}:${port}`
      return [name, type, host, status, success, tcp_failure, http_failure, timeout_failure]
    }),
  )
  const row = (cells: readonly (string | number)[], tag: 'th' | 'td') =>
    `<tr>${cells.map(cell => `<${tag}>${escaped(String(cell))}</${tag}>`).join('')}</tr>\n`
  const table = row(head, 'th') + rows.map(cells => row(cells, 'td')).join('')
  return `<!doctype html>\n<title>${title}</title>\n<h1>${title}</h1>\n<table border="1">\n${table}</table>\n`
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, character => `&#${character.codePointAt(0)};`)
}
