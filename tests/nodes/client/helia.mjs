// A file by Helia, from one gateway and no other place, to standard output: node helia.mjs GATEWAY CID
// The variable AUTHORIZATION is sent as the header of that name.
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { trustlessGateway } from '@helia/block-brokers'
import { createHeliaHTTP } from '@helia/http'
import { httpGatewayRouting } from '@helia/routers'
import { unixfs } from '@helia/unixfs'
import { CID } from 'multiformats/cid'

// What Node.js 20 does not have, and these packages use.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((...both) => ([resolve, reject] = both))
  return { promise, resolve, reject }
}

const [gateway, cid] = process.argv.slice(2)
const { AUTHORIZATION } = process.env
const signed = (request) => ({ ...request, headers: { ...request.headers, ...(AUTHORIZATION && { AUTHORIZATION }) } })
const helia = await createHeliaHTTP({
  // Plain HTTP, on this machine.
  blockBrokers: [trustlessGateway({ allowInsecure: true, allowLocal: true, transformRequestInit: signed })],
  routers: [httpGatewayRouting({ gateways: [gateway] })]
})
const pieces = unixfs(helia).cat(CID.parse(cid), { signal: AbortSignal.timeout(120_000) })
await pipeline(Readable.from(pieces), process.stdout)
await helia.stop()
