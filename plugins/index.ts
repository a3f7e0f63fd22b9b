// The plugins that come with the gateway, by name; what is not in this list does not exist.
import type { Plugin } from '../core/plugin.ts'
import aiAliyunContentModeration from './ai-aliyun-content-moderation/ai-aliyun-content-moderation.ts'
import aiAwsContentModeration from './ai-aws-content-moderation/ai-aws-content-moderation.ts'
import aiBudget from './ai-budget/ai-budget.ts'
import aiLakeraGuard from './ai-lakera-guard.ts'
import aiModelAccess from './ai-model-access.ts'
import aiPromptDecorator from './ai-prompt-decorator.ts'
import aiPromptGuard from './ai-prompt-guard/ai-prompt-guard.ts'
import aiPromptTemplate from './ai-prompt-template.ts'
import aiProxy from './ai-proxy.ts'
import aiProxyMulti from './ai-proxy-multi/ai-proxy-multi.ts'
import aiRag from './ai-rag.ts'
import aiRateLimiting from './ai-rate-limiting.ts'
import aiRequestRewrite from './ai-request-rewrite.ts'
import clickhouseLogger from './clickhouse-logger.ts'
import elasticsearchLogger from './elasticsearch-logger.ts'
import fileLogger from './file-logger.ts'
import httpLogger from './http-logger.ts'
import keyAuth from './key-auth.ts'
import limitConn from './limit-conn.ts'
import limitCount from './limit-count.ts'
import limitReq from './limit-req.ts'
import lokiLogger from './loki-logger.ts'
import opentelemetry from './opentelemetry/opentelemetry.ts'
import prometheus from './prometheus.ts'
import proxyRewrite from './proxy-rewrite.ts'
import publicApi from './public-api.ts'
import requestId from './request-id.ts'
import responseRewrite from './response-rewrite.ts'
import { serverlessPostFunction, serverlessPreFunction } from './serverless-function.ts'
import syslog from './syslog.ts'
import tcpLogger from './tcp-logger.ts'
import udpLogger from './udp-logger.ts'

export const builtins: readonly Plugin[] = [
  aiAliyunContentModeration,
  aiAwsContentModeration,
  aiBudget,
  aiLakeraGuard,
  aiModelAccess,
  aiPromptDecorator,
  aiPromptGuard,
  aiPromptTemplate,
  aiProxy,
  aiProxyMulti,
  aiRag,
  aiRateLimiting,
  aiRequestRewrite,
  clickhouseLogger,
  elasticsearchLogger,
  fileLogger,
  httpLogger,
  keyAuth,
  limitConn,
  limitCount,
  limitReq,
  lokiLogger,
  opentelemetry,
  prometheus,
  proxyRewrite,
  publicApi,
  requestId,
  responseRewrite,
  serverlessPostFunction,
  serverlessPreFunction,
  syslog,
  tcpLogger,
  udpLogger,
]
