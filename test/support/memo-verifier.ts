import { createHash } from 'node:crypto'
import type { NodeId } from '../../src/core/ids.js'
import { SignatureVerifier, signatureBytes, type SignatureDomain } from '../../src/identity/signature.js'

/** Answers kept: at most 100 bytes each, so 20 MB. */
const maxAnswers = 200_000

/**
 * Gives the answers of the real verifier, each worked out once: in a mesh in one process every node asks about the same
 * signatures. An answer depends on signer, purpose, message and signature and on nothing else.
 */
export class MemoVerifier extends SignatureVerifier {
  readonly #answers = new Map<string, boolean>()

  constructor() {
    // On threads, the order of the answers would depend on their speed.
    super({ isSequential: true })
  }

  override verify(signer: NodeId, domain: SignatureDomain, message: Uint8Array, signature: Uint8Array): boolean {
    if (signature.byteLength !== signatureBytes) return false
    const hash = createHash('sha256').update(`${domain} ${signer} `).update(signature).update(message)
    const question = hash.digest('base64')
    const known = this.#answers.get(question)
    if (known !== undefined) return known
    if (this.#answers.size >= maxAnswers) this.#answers.clear()
    const answer = super.verify(signer, domain, message, signature)
    this.#answers.set(question, answer)
    return answer
  }
}
