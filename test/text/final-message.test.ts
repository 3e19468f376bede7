import t from 'tap'
import { cutAfterFinalMessage, markFinalMessage } from '../../apps/server/src/text/final-message.ts'

/** What a template of `<role>content!` makes of one message, the last. */
function rendered (content: string, change: (text: string) => string = text => text): string {
  const [message] = markFinalMessage([{ role: 'assistant', content }])
  return `<assistant>${change(message?.content ?? '')}!`
}

t.test('white space behind the final message stays where the template keeps it, and goes where it trims', async t => {
  t.equal(cutAfterFinalMessage(rendered('or '), 'or '), '<assistant>or ')
  t.equal(cutAfterFinalMessage(rendered('or ', text => text.trim()), 'or '), '<assistant>or')
  t.equal(cutAfterFinalMessage(rendered('  or'), '  or'), '<assistant>  or')
  t.equal(cutAfterFinalMessage(rendered(''), ''), '<assistant>')
})

t.test('a final message that the template leaves out or changes has no end', async t => {
  t.equal(cutAfterFinalMessage('<assistant>or!', 'or'), undefined)
  t.equal(cutAfterFinalMessage(rendered('or', text => text.replace('or', 'OR')), 'or'), undefined)
  t.equal(cutAfterFinalMessage(`<user>or!${rendered('or', text => text.replace('or', 'OR'))}`, 'or'), undefined, 'that it is somewhere else is no help')
})

// Looking for it everywhere in the prompt held the event loop up for 18 seconds with a fifth of this.
t.test('a final message that is hard to find is cut at once', async t => {
  const [before, content] = ['a'.repeat(1_600_000), `${'a'.repeat(400_000)}b${'a'.repeat(400_000)}`]
  t.ok(cutAfterFinalMessage(before + rendered(content), content) === `${before}<assistant>${content}`)
})
