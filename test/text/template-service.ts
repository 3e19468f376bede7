import { rm } from 'node:fs/promises'
import type { Test } from 'tap'
import { openTextService, type ChatMessage, type TextServiceOptions } from '../../apps/server/src/text/index.ts'
import { sentencePieceTokenizer, writeFolder } from './tokenizer-folder.ts'

export const keep = { skipSpecialTokens: false }
export const prompt = { addGenerationPrompt: true }
export const hello: ChatMessage[] = [{ role: 'user', content: 'hello' }]

/** A text service over `sentencePieceTokenizer` with this tokenizer_config.json, closed when the test ends. `decode` shows the tokens, trimmed. */
export async function serviceWith (t: Test, config: Record<string, unknown>, options: Partial<TextServiceOptions> = {}, files: Record<string, unknown> = {}) {
  const directory = await writeFolder({ 'tokenizer.json': sentencePieceTokenizer(), 'tokenizer_config.json': { bos_token: '<s>', eos_token: '</s>', ...config }, ...files })
  const service = await openTextService(directory, options)
  t.teardown(async () => {
    await service.close()
    await rm(directory, { recursive: true })
  })
  const decode = (tokens: readonly number[]) => service.decode(tokens, keep).trim()
  return { encodeChat: service.encodeChat.bind(service), decode, render: async (messages: ChatMessage[], tools?: unknown[]) => service.decode(await service.encodeChat(messages, tools === undefined ? prompt : { ...prompt, tools }), keep) }
}
