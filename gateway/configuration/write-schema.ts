// Writes config/schema.json, the JSON Schema that editors complete and check YAML files with, from the
// same schemas that the gateway reads them with.

import { writeFileSync } from 'node:fs'
import * as z from 'zod'
import { configurationSchema } from './sections.ts'

/** Where the JSON Schema is kept. */
export const schemaFile = new URL('../../config/schema.json', import.meta.url)

/** The JSON Schema of a configuration file, as text. */
export function writeSchema(): string {
  const schema = z.toJSONSchema(configurationSchema.partial(), {
    io: 'input',
    target: 'draft-7',
    override: ({ jsonSchema }) => admitVariables(jsonSchema),
  })
  return `${JSON.stringify({ title: 'Scopegate configuration', ...schema }, undefined, 2)}\n`
}

/** A variable (`${PORT}`) may stand wherever a number, a flag or a word of a list is expected. */
function admitVariables(schema: z.core.JSONSchema.BaseSchema): void {
  const isPlain = ['integer', 'number', 'boolean'].includes(String(schema.type))
  if (!isPlain && schema.enum === undefined && schema.pattern === undefined) return
  const { description, default: fallback, ...own } = schema
  for (const key of Object.keys(schema)) delete schema[key]
  if (description !== undefined) schema.description = description
  if (fallback !== undefined) schema.default = fallback
  schema.anyOf = [own, { type: 'string', pattern: '\\$\\{' }]
}

if (import.meta.main) writeFileSync(schemaFile, writeSchema())
