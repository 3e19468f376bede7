import { parse, tokenize } from '@huggingface/jinja'

/** The syntax tree that @huggingface/jinja's parser makes, with the types that it does not export. */
export type Expression =
  | { readonly type: 'IntegerLiteral' | 'FloatLiteral', readonly value: number }
  | { readonly type: 'StringLiteral', readonly value: string }
  | { readonly type: 'ArrayLiteral' | 'TupleLiteral', readonly value: readonly Expression[] }
  | { readonly type: 'ObjectLiteral', readonly value: ReadonlyMap<Expression, Expression> }
  | Identifier
  | CallExpression
  | { readonly type: 'MemberExpression', readonly object: Expression, readonly property: Expression, readonly computed: boolean }
  | SliceExpression
  | { readonly type: 'UnaryExpression', readonly operator: { readonly value: string }, readonly argument: Expression }
  | { readonly type: 'BinaryExpression', readonly operator: { readonly value: string }, readonly left: Expression, readonly right: Expression }
  | { readonly type: 'FilterExpression', readonly operand: Expression, readonly filter: Identifier | CallExpression }
  | { readonly type: 'TestExpression', readonly operand: Expression, readonly negate: boolean, readonly test: Identifier }
  | SelectExpression
  | { readonly type: 'Ternary', readonly condition: Expression, readonly trueExpr: Expression, readonly falseExpr: Expression }

/** Of a call or a filter. */
export type Argument =
  | Expression
  | KeywordArgument
  | { readonly type: 'SpreadExpression', readonly argument: Expression }
  | { readonly type: 'KeywordSpreadExpression', readonly argument: Expression }

/** One part of a template; an expression is printed. */
export type Statement =
  | Expression
  | { readonly type: 'If', readonly test: Expression, readonly body: Body, readonly alternate: Body }
  | ForStatement
  | SetStatement
  | MacroStatement
  | CallStatement
  | { readonly type: 'FilterStatement', readonly filter: Identifier | CallExpression, readonly body: Body }
  | { readonly type: 'Break' | 'Continue' | 'Comment' }

export type Body = readonly Statement[]
export interface Identifier { readonly type: 'Identifier', readonly value: string }
export interface CallExpression { readonly type: 'CallExpression', readonly callee: Expression, readonly args: readonly Argument[] }
export interface KeywordArgument { readonly type: 'KeywordArgumentExpression', readonly key: Identifier, readonly value: Expression }
export interface SelectExpression { readonly type: 'SelectExpression', readonly lhs: Expression, readonly test: Expression }
export interface SliceExpression { readonly type: 'SliceExpression', readonly start?: Expression, readonly stop?: Expression, readonly step?: Expression }
export interface ForStatement { readonly type: 'For', readonly loopvar: Expression, readonly iterable: Expression, readonly body: Body, readonly defaultBlock: Body }
export interface SetStatement { readonly type: 'Set', readonly assignee: Expression, readonly value: Expression | null, readonly body: Body }
export type Parameter = Identifier | KeywordArgument
export interface MacroStatement { readonly type: 'Macro', readonly name: Identifier, readonly args: readonly Parameter[], readonly body: Body }
export interface CallStatement { readonly type: 'CallStatement', readonly call: CallExpression, readonly callerArgs: readonly Parameter[] | null, readonly body: Body }

/** Reads a template's source. @throws SyntaxError and others of the parser's own for what it cannot read. */
export function parseTemplate (source: string): Body {
  // jinja2 reads every line end as \n before anything else; trimming after blocks depends on it.
  const tokens = tokenize(source.replace(/\r\n?/g, '\n'), { trim_blocks: true, lstrip_blocks: true })
  return parse(tokens).body as unknown as Body
}
