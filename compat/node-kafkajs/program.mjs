// What users of kafkajs do, checked by what comes back.
import kafkajs from 'kafkajs'
import LZ4 from 'kafkajs-lz4'
import { bootstrap, check, equal, newTopic, refused, until } from './features.mjs'

const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, Partitioners, logLevel } = kafkajs
CompressionCodecs[CompressionTypes.LZ4] = new LZ4().codec

const TIMESTAMP_MS = Date.now() - 3_600_000 // young enough for retention
const COUNT = 300
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR, retry: { retries: 3 } })

function numbered (first, count) {
  return Array.from({ length: count }, (_, at) => ({
    key: `key-${first + at}`,
    value: `value-${first + at}`,
    partition: 0,
    timestamp: String(TIMESTAMP_MS + first + at),
    headers: { n: String(first + at), twice: ['a', 'b'] }
  }))
}

async function withProducer (settings, use) {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...settings })
  await producer.connect()
  try {
    return await use(producer)
  } finally {
    await producer.disconnect()
  }
}

async function withAdmin (use) {
  const admin = kafka.admin()
  await admin.connect()
  try {
    return await use(admin)
  } finally {
    await admin.disconnect()
  }
}

function produce (topic, first = 0, count = COUNT, send = {}, settings = {}) {
  return withProducer(settings, producer => producer.send({ topic, messages: numbered(first, count), ...send }))
}

// Consume until `count` records have come, as a new member of the group.
async function consume (topic, count, groupId = `group-${topic}`, settings = {}, commitAt = null) {
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 200, ...settings })
  const records = []
  await consumer.connect()
  try {
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({
      autoCommit: commitAt === null,
      eachMessage: async ({ message, partition }) => {
        records.push({
          key: message.key?.toString(),
          value: message.value?.toString(),
          partition,
          timestamp: message.timestamp,
          offset: message.offset,
          headers: Object.fromEntries(Object.entries(message.headers).map(([name, value]) => [name, String(value)]))
        })
      }
    })
    await until(`${count} records`, () => records.length >= count)
    if (commitAt !== null) await consumer.commitOffsets([{ topic, partition: 0, offset: String(commitAt) }])
  } finally {
    await consumer.disconnect()
  }
  return records
}

function cameBack (records, first = 0, count = COUNT) {
  const expected = numbered(first, count).map((sent, at) => ({
    ...sent,
    offset: String(first + at),
    headers: { n: sent.headers.n, twice: 'a,b' }
  }))
  equal(records.map(sorted), expected.map(sorted), 'records')
}

const sorted = record => Object.fromEntries(Object.entries(record).sort())

async function roundTrip (send = {}, settings = {}) {
  const topic = newTopic()
  await produce(topic, 0, COUNT, send, settings)
  cameBack(await consume(topic, COUNT))
}

await check('produce and consume', () => roundTrip())
await check('gzip', () => roundTrip({ compression: CompressionTypes.GZIP }))
await check('lz4', () => roundTrip({ compression: CompressionTypes.LZ4 }))
await check('acks 0 and 1', async () => {
  await roundTrip({ acks: 1 })
  await roundTrip({ acks: 0 })
})
await check('idempotent producer', () => roundTrip({}, { idempotent: true }))

await check('too large a record is refused', () =>
  withProducer({}, producer =>
    refused(/larger than the max message size/i, () =>
      producer.send({ topic: newTopic(), messages: [{ value: Buffer.alloc(2_000_000) }] })
    )
  )
)

await check('group: commit and resume', async () => {
  const topic = newTopic()
  await produce(topic)
  cameBack(await consume(topic, COUNT, 'resuming', {}, 100))
  cameBack(await consume(topic, COUNT - 100, 'resuming'), 100, COUNT - 100)
})

await check('group: two members share, one leaves', () =>
  withAdmin(async admin => {
    const topic = newTopic()
    await admin.createTopics({ topics: [{ topic, numPartitions: 4 }] })
    const has = [[], []]
    const members = [0, 1].map(() => kafka.consumer({ groupId: `group-${topic}`, heartbeatInterval: 200, maxWaitTimeInMs: 200 }))
    const join = async number => {
      const member = members[number]
      member.on(member.events.GROUP_JOIN, event => { has[number] = event.payload.memberAssignment[topic] ?? [] })
      await member.connect()
      await member.subscribe({ topic })
      await member.run({ eachMessage: async () => {} })
    }
    try {
      await join(0)
      await until('the first has all', () => has[0].length === 4)
      await join(1)
      await until('a half each', () => has[0].length === 2 && has[1].length === 2)
      equal([...has[0], ...has[1]].sort(), [0, 1, 2, 3], 'both together')
      await members[1].disconnect()
      await until('the first has all again', () => has[0].length === 4)
    } finally {
      for (const member of members) await member.disconnect()
    }
  })
)

await check('admin: topics', () =>
  withAdmin(async admin => {
    const topic = newTopic()
    const wanted = { topic, numPartitions: 2, configEntries: [{ name: 'retention.ms', value: '77777' }] }
    equal(await admin.createTopics({ topics: [wanted] }), true, 'created')
    equal(await admin.createTopics({ topics: [wanted] }), false, 'created twice')
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    equal(topics[0].partitions.length, 3, 'partitions')
    await admin.deleteTopics({ topics: [topic] })
    equal((await admin.listTopics()).includes(topic), false, 'still there')
  })
)

await check('admin: configs', () =>
  withAdmin(async admin => {
    const topic = newTopic()
    await admin.createTopics({ topics: [{ topic }] })
    const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
    await admin.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '4444' }] }] })
    const { resources } = await admin.describeConfigs({ resources: [resource] })
    equal(resources[0].configEntries.find(entry => entry.configName === 'retention.ms').configValue, '4444', 'retention.ms')
  })
)

await check('admin: offsets of topics and groups', () =>
  withAdmin(async admin => {
    const topic = newTopic()
    await produce(topic)
    const [ends] = await admin.fetchTopicOffsets(topic)
    equal([ends.low, ends.high], ['0', String(COUNT)], 'low and high')
    const [found] = await admin.fetchTopicOffsetsByTimestamp(topic, TIMESTAMP_MS + 77)
    equal(found.offset, '77', 'by time')
    await admin.setOffsets({ groupId: 'set', topic, partitions: [{ partition: 0, offset: '250' }] })
    const offsets = await admin.fetchOffsets({ groupId: 'set', topics: [topic] })
    equal(offsets[0].partitions[0].offset, '250', 'offset of the group')
    cameBack(await consume(topic, 50, 'set'), 250, 50)
  })
)

await check('admin: groups', () =>
  withAdmin(async admin => {
    const topic = newTopic()
    await produce(topic)
    await consume(topic, COUNT)
    const group = `group-${topic}`
    equal((await admin.listGroups()).groups.some(one => one.groupId === group), true, 'listed')
    equal((await admin.describeGroups([group])).groups[0].state, 'Empty', 'state')
    await admin.deleteGroups([group])
    equal((await admin.listGroups()).groups.some(one => one.groupId === group), false, 'after its deletion')
  })
)

await check('admin: delete records', () =>
  withAdmin(async admin => {
    const topic = newTopic()
    await produce(topic)
    await admin.fetchTopicOffsets(topic) // it needs the metadata and does not ask for it
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '200' }] })
    cameBack(await consume(topic, 100), 200, 100)
  })
)

await check('admin: cluster', () =>
  withAdmin(async admin => {
    const { brokers, controller, clusterId } = await admin.describeCluster()
    equal([brokers.length, brokers[0].nodeId, clusterId.length], [1, controller, 22], 'cluster')
    equal(`${brokers[0].host}:${brokers[0].port}`, bootstrap, 'address')
  })
)

await check('transactions: committed and aborted', async () => {
  const topic = newTopic()
  await withProducer({ transactionalId: `tx-${topic}`, idempotent: true, maxInFlightRequests: 1 }, async producer => {
    for (let round = 0; round < 4; round++) {
      const transaction = await producer.transaction()
      await transaction.send({ topic, messages: numbered(round * 10, 10) })
      await (round % 2 === 0 ? transaction.commit() : transaction.abort())
    }
  })
  const records = await consume(topic, 20)
  equal(records.map(record => record.key), [...numbered(0, 10), ...numbered(20, 10)].map(sent => sent.key), 'committed')
})

await check('transactions: offsets and records together', async () => {
  const topic = newTopic()
  await withProducer({ transactionalId: `tx-${topic}`, idempotent: true, maxInFlightRequests: 1 }, async producer => {
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages: numbered(0, 10) })
    const topics = [{ topic, partitions: [{ partition: 0, offset: '4' }] }]
    await transaction.sendOffsets({ consumerGroupId: `group-${topic}`, topics })
    await transaction.commit()
  })
  equal((await consume(topic, 6)).map(record => record.offset), ['4', '5', '6', '7', '8', '9'], 'offsets')
})
