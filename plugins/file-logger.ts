// file-logger: one line of JSON per request, appended to a file (facts core 8.3.27 and C.1).
import { type LineFile, openLineFile } from '../core/observe/line-file.ts'
import { checkLine, lineAttributes, lineMetadata, loggerHooks } from '../core/observe/logger.ts'
import { lostEntries } from '../core/observe/lost-entries.ts'
import { plugin, type Schema } from '../core/plugin.ts'
import { checkExpr, compileExpr } from '../core/router/expr.ts'

const schema = {
  type: 'object',
  properties: {
    path: { type: 'string' },
    ...lineAttributes,
    match: { type: 'array', maxItems: 20, items: { type: 'array' } },
  },
} as const satisfies Schema

export default plugin({
  name: 'file-logger',
  priority: 399,
  version: 0.1,
  schema,
  metadata: { type: 'object', properties: { path: { type: 'string' }, ...lineMetadata } },
  orMetadata: ['path'],
  check(config) {
    for (const expr of config.match ?? []) {
      const problem = checkExpr(expr)
      if (problem !== undefined) return `failed to validate the 'match' expression: ${problem}`
    }
    return checkLine(config)
  },
  setup(config, { log, metadata, metrics, now, owner }) {
    const path = config.path ?? metadata?.path
    if (path === undefined) {
      log.error(
        { plugin: 'file-logger', owner },
        'nothing is logged: there is no path in the config, nor in the metadata',
      )
      return {}
    }
    const lost = lostEntries(metrics, 'file-logger')
    // A dry run makes instances that never log: the file is opened by the first line.
    let file: LineFile | undefined
    const matches = (config.match ?? []).map(expr => compileExpr(expr))
    return loggerHooks(config, metadata, {
      record(_ctx, put) {
        file ??= openLineFile(path, { log, now, lost })
        file.write(put)
      },
      close: async () => file?.close(),
      ...(matches.length > 0 && { wants: get => matches.some(expr => expr.test(get)) }),
    })
  },
})
