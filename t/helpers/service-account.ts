// A Google service account of a test's own, and the check of what it signs.
import { generateKeyPairSync, type KeyObject, verify } from 'node:crypto'

export interface TestAccount {
  /** As Google hands it out. */
  readonly json: string
  /** The key within it, which must not be seen anywhere. */
  readonly secret: string
  /** Header and claims of a statement. Throws when the account has not signed it. */
  read(statement: string): { header: Record<string, unknown>; claims: Record<string, unknown> }
}

/** `fields` stand beside, or in the place of, what an account has. */
export function testAccount(tokenUri: string, fields: object = {}): TestAccount {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const pem = String(privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const account = {
    type: 'service_account',
    client_email: 'gateway@project.iam.gserviceaccount.com',
    private_key_id: 'key-7',
    private_key: pem,
    token_uri: tokenUri,
    ...fields,
  }
  return { json: JSON.stringify(account), secret: pem.split('\n')[3]!, read: statement => read(statement, publicKey) }
}

function read(statement: string, key: KeyObject): ReturnType<TestAccount['read']> {
  const [header = '', claims = '', signature = ''] = statement.split('.')
  const good = verify('RSA-SHA256', Buffer.from(`${header}.${claims}`), key, Buffer.from(signature, 'base64url'))
  if (!good) throw new Error('the statement is not signed by the account')
  const part = (text: string) => JSON.parse(Buffer.from(text, 'base64url').toString()) as Record<string, unknown>
  return { header: part(header), claims: part(claims) }
}
