// Browsers start no worker in a page that was opened from a folder, and the search needs one. This runs it in a frame of the page.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      const address = new URL(url, location.href)
      const frame = document.createElement("iframe")
      frame.hidden = true
      frame.title = "search"
      document.body.append(frame)
      const inside = frame.contentWindow
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      inside.importScripts = (...urls) => urls.reduce((before, one) => before.then(() => new Promise((resolve, reject) => {
        const script = inside.document.createElement("script")
        script.src = new URL(one, address).href
        script.onload = resolve
        script.onerror = () => reject(new Error(`cannot load ${script.src}`))
        inside.document.head.append(script)
      })), Promise.resolve())
      this.inside = inside
      inside.importScripts(address).then(() => {
        const waiting = this.waiting
        this.waiting = null
        waiting.forEach(data => this.postMessage(data))
      })
    }
    postMessage(data) {
      if (this.waiting) this.waiting.push(data)
      else this.inside.dispatchEvent(new MessageEvent("message", { data }))
    }
    terminate() {}
  }
}
