// Which of two kinds of text a client would rather read.
import assert from 'node:assert/strict'
import { prefersHtml } from '../../core/accept.ts'

describe('a client', () => {
  for (const accept of [
    'text/html',
    'TEXT/HTML',
    'text/html, */*',
    'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8',
    'text/html, */*; q=0.01',
    'application/json;q=0.5, text/html',
    'application/json;q=0, text/html;q=0.1',
    'text/html;level=1;q=0.4, application/*;q=0.3',
  ]) {
    it(`wants HTML with Accept: ${accept}`, () => assert.ok(prefersHtml(accept)))
  }
  for (const accept of [
    undefined,
    '',
    '*/*',
    'application/json',
    'application/json, text/html',
    'text/html, application/json',
    'application/json, text/plain, */*',
    'text/html;q=0.5, application/json',
    'text/html;q=0.5, */*',
    'text/html;q=0',
    'text/html;q=nonsense',
    'text/plain',
    'application/xhtml+xml',
    ';,;q=,html',
  ]) {
    it(`wants JSON with Accept: ${accept ?? '(none)'}`, () => assert.ok(!prefersHtml(accept)))
  }
})
