import type { z } from 'zod'
import { ApiError, ServiceUnavailableError } from '../errors.ts'
import type { GenerationService } from '../generation/generation-service.ts'
import type { HttpConfig } from '../http-config.ts'
import type { TextService } from '../text/text-service.ts'
import { chatCompletionRequestSchema, parseChatCompletionRequest } from './chat-completion-request.ts'
import { completionRequestSchema, parseCompletionRequest } from './completion-request.ts'
import { planChatCompletion, planCompletion } from './generation-plan.ts'
import type { GenerationPlan, PlanContext } from './generation-plan.ts'
import { checkJsonDepth } from './json-depth.ts'
import type { ModelNames } from './model-names.ts'

/** One of the two ways to ask for a generation; the same for REST and WebSocket. */
export interface GenerationEndpoint {
  readonly path: string
  readonly summary: string
  readonly requestSchema: z.ZodType
  /** @throws ApiError, ServiceUnavailableError or what tokenising throws. */
  plan (body: unknown): Promise<GenerationPlan>
}

export interface EndpointContext {
  readonly config: HttpConfig
  readonly generation: GenerationService
  readonly text: TextService
  readonly names: ModelNames
}

export function generationEndpoints (context: EndpointContext): readonly GenerationEndpoint[] {
  const { config } = context
  const chatSchema = chatCompletionRequestSchema(config)
  const completionSchema = completionRequestSchema(config)
  return [
    {
      path: '/v1/chat/completions',
      summary: 'Continues a conversation',
      requestSchema: chatSchema,
      async plan (body) {
        checkJsonDepth(body, config.maxJsonDepth)
        const request = parseChatCompletionRequest(chatSchema, body)
        return planChatCompletion(request, planContext(context, request.model))
      },
    },
    {
      path: '/v1/completions',
      summary: 'Continues a text',
      requestSchema: completionSchema,
      async plan (body) {
        checkJsonDepth(body, config.maxJsonDepth)
        const request = parseCompletionRequest(completionSchema, body, config)
        return planCompletion(request, planContext(context, request.model))
      },
    },
  ]
}

/** @throws ApiError for a model that is not served, ServiceUnavailableError while there is no engine. */
export function planContext ({ config, generation, text, names }: EndpointContext, model: string | undefined): PlanContext {
  const name = names.resolve(model)
  if (name === undefined) {
    throw new ApiError('model_not_found', `The model '${model ?? ''}' does not exist or you do not have access to it.`, { param: 'model' })
  }
  if (generation.capacity === undefined) throw new ServiceUnavailableError({ state: generation.state })
  return { config, text, capacity: generation.capacity, queueLimits: generation.queueLimits, model: name }
}
