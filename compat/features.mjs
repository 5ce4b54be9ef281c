// For the clients' programs in JavaScript: run checks one after the other, report each as a JSON line.
import { inspect, isDeepStrictEqual } from 'node:util'

export const bootstrap = process.env.FLOE_BOOTSTRAP

export class NotRun extends Error {}

export async function check(feature, run) {
  const started = performance.now()
  let [result, reason] = ['pass', '']
  try {
    await run()
  } catch (error) {
    console.error(error)
    ;[result, reason] = error instanceof NotRun ? ['not_run', error.message] : ['fail', `${error.name}: ${error.message}`]
  }
  process.stdout.write(`{"feature": ${JSON.stringify(feature)}, "result": "${result}", "reason": ${JSON.stringify(reason)}}\n`)
  console.error(`${feature} took ${(performance.now() - started).toFixed(0)} ms`)
}

export function equal(actual, expected, what) {
  if (!isDeepStrictEqual(actual, expected)) {
    throw new Error(`${what}: expected ${shortly(expected)}, got ${shortly(actual)}`)
  }
}

function shortly(value) {
  return (JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? `${part}n` : part)) ?? 'undefined').slice(0, 200)
}

export async function refused(pattern, run) {
  try {
    await run()
  } catch (error) {
    if (pattern.test(inspect(error, { depth: 8 }))) return
    throw error
  }
  throw new Error(`was not refused with ${pattern}`)
}

export async function until(what, condition, limitMs = 30_000) {
  const deadline = performance.now() + limitMs
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`in ${limitMs} ms it did not come true: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

let topics = 0
export const newTopic = () => `topic-${++topics}`
