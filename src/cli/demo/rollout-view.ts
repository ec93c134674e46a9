import type { ModelConvergenceStatus, NodeModelStatus, ObservedProgress, StatusBlocker } from '../../index.js'

const barWidth = 20
const bytesPerMb = 1024 * 1024

/** Bytes for people. */
export function sizeText(bytes: number): string {
  if (bytes === 0) return '-'
  return bytes < bytesPerMb ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / bytesPerMb).toFixed(1)} MiB`
}

/** A bar, the share and the rate of a transfer. */
export function transferText({ haveBytes, totalBytes, bytesPerSecond }: ObservedProgress): string {
  const share = totalBytes === 0 ? 1 : haveBytes / totalBytes
  const filled = Math.round(share * barWidth)
  const bar = '█'.repeat(filled) + '░'.repeat(barWidth - filled)
  const rate = bytesPerSecond === undefined ? '' : `  ${sizeText(bytesPerSecond)}/s`
  return `${bar} ${Math.round(share * 100)} %${rate}`
}

/** What a node's status says, in a few words. */
export function statusText(status: NodeModelStatus): string {
  const target = status.targetVersion ?? status.currentVersion ?? ''
  const reason = status.blocker === undefined ? '' : `: ${blockerText(status.blocker)}`
  if (status.phase === 'operational') return `runs ${status.currentVersion ?? ''} (${status.variantId ?? ''})`
  if (status.phase === 'rolledBack') return `restored ${status.currentVersion ?? 'nothing'}${reason}`
  if (status.phase === 'queued') return reason === '' ? 'waits' : `blocked${reason}`
  return `${status.phase} ${target}${reason}`
}

function blockerText({ reason, message, required, available, unit }: StatusBlocker): string {
  return required === undefined ? message : `${reason}, needs ${required} ${unit ?? ''}, has ${available ?? 'unknown'}`
}

/** Whether a node's status is its last word on a version. */
export function hasSettled(status: NodeModelStatus, version: string): boolean {
  if (status.targetVersion !== version) return false
  const isDone = status.phase === 'operational' || status.phase === 'rolledBack' || status.phase === 'failed'
  return isDone || (status.phase === 'queued' && status.blocker !== undefined)
}

/** The verdict in one line. */
export function verdictText({ converged, failed, totalPlatforms, excluded, blockers }: ModelConvergenceStatus): string {
  const blocked = blockers.length - failed
  const parts = [`${converged} of ${totalPlatforms} converged`]
  if (failed > 0) parts.push(`${failed} failed`)
  if (blocked > 0) parts.push(`${blocked} blocked`)
  if (excluded > 0) parts.push(`${excluded} excluded`)
  return parts.join(', ')
}
