// Exact money: whole nano-units (1e-9) of a currency, read from decimals, printed as decimals; knows no currency, no price.

/** A safe integer of 1e-9 units of a currency: at most 9,007,199.254740991 of them. */
export type Nano = number

const DIGITS = 9
const UNIT = 10n ** BigInt(DIGITS)
const DECIMAL = /^(\d{1,16})(?:\.(\d{1,17}))?(?:[eE]([+-]?\d{1,2}))?$/

/**
 * A decimal as people write it, `2.50` or `7.5e-2`, as text or as the number that JSON has made of it: a number stands for the
 * shortest decimal that reads as it, which is what was written. Undefined for what is negative, has more than nine decimals
 * or is too large: nothing is rounded here.
 */
export function nanoOf(decimal: string | number): Nano | undefined {
  const [, whole = '', fraction = '', exponent = '0'] = DECIMAL.exec(String(decimal)) ?? []
  if (whole === '') return undefined
  const digits = `${whole}${fraction}`.replace(/0+$/, '')
  const zeros = whole.length + fraction.length - digits.length
  const power = DIGITS + Number(exponent) - fraction.length + zeros
  if (digits === '') return 0
  if (power < 0 || power > 2 * DIGITS) return undefined
  const amount = BigInt(digits) * 10n ** BigInt(power)
  return amount <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(amount) : undefined
}

/** With at least two decimals and no more than are needed: `12.50`, `-0.000125`. */
export function formatNano(amount: Nano): string {
  const size = BigInt(Math.abs(amount))
  const fraction = String(size % UNIT).padStart(DIGITS, '0')
  return `${amount < 0 ? '-' : ''}${size / UNIT}.${fraction.slice(0, 2)}${fraction.slice(2).replace(/0+$/, '')}`
}
