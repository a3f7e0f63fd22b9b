// conf/debug.yaml: whether every response says which plugins the request went through (facts core 1.10); knows no other key.
import { existsSync } from 'node:fs'
import { isGroup, unwrap } from './key.ts'
import { below, ConfigError, type Environment, readSource } from './source.ts'

/** Of APISIX's, which trace functions of Lua. */
const NOT_SERVED = ['http_filter', 'hook_conf']
const KNOWN = new Set(['basic', 'hook_phase', ...NOT_SERVED])

/** Whether `basic.enable` is true in that file; false without one. Throws ConfigError. */
export function readDebugMode(file: string, env: Environment): boolean {
  if (!existsSync(file)) return false
  const source = readSource(file, env)
  const fail = (path: string, why: string) => {
    throw new ConfigError(`${source.where(path)}: ${why}`)
  }
  const root = source.value ?? {}
  if (!isGroup(root)) return fail('', 'expected a group of keys')
  for (const name of Object.keys(root)) if (!KNOWN.has(name)) fail(below('', name), 'unknown key')
  const isOn = (name: string): boolean => {
    const group = root[name] ?? {}
    if (!isGroup(group)) return fail(name, 'expected a group of keys')
    const enable = unwrap(group.enable) ?? false
    return typeof enable === 'boolean' ? enable : fail(`${name}.enable`, 'expected true or false')
  }
  for (const name of NOT_SERVED) if (isOn(name)) fail(`${name}.enable`, 'is not served in this version')
  return isOn('basic')
}
