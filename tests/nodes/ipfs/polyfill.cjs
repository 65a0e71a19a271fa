// What Node.js has from version 22 on, and a dependency of js-ipfs uses.
if (Promise.withResolvers === undefined) {
  Promise.withResolvers = function () {
    const made = {}
    made.promise = new this((resolve, reject) => Object.assign(made, { resolve, reject }))
    return made
  }
}
