import t from 'tap'
import { formatReport, taskResult, wilsonInterval } from '../../apps/server/src/eval/report.ts'

t.test('Wilson\'s interval', async t => {
  // By hand from the formula, z = 1.96: 8 of 10 is 0.4902 to 0.9433.
  const [low, high] = wilsonInterval(8, 10)
  t.ok(Math.abs(low - 0.4902) < 5e-4 && Math.abs(high - 0.9433) < 5e-4, `${low} to ${high}`)
  t.same(wilsonInterval(0, 0), [0, 1], 'nothing known')
  const [never, seldom] = wilsonInterval(0, 20)
  t.equal(never, 0)
  t.ok(seldom > 0.1 && seldom < 0.2, 'rule of three and a little')
  t.equal(wilsonInterval(20, 20)[1], 1)
  t.ok(wilsonInterval(200, 200)[0] > wilsonInterval(20, 20)[0], 'more answers say more')
})

t.test('a task nobody asked anything of has rate 0 and knows nothing', async t => {
  t.same(taskResult('lines_8192', 1, 0, 0), { task: 'lines_8192', documents: 1, answers: 0, correct: 0, exact: 0, interval: [0, 1] })
})

t.test('the table shows rates, intervals and counts, and what is on record where there is a record', async t => {
  const report = { target: 'daybreak-mini at http://127.0.0.1:8000', seed: 4, seconds: 12.34, tasks: [taskResult('talk', 10, 10, 9), taskResult('lines_99', 2, 4, 4)] }
  const plain = formatReport(report, new Map())
  t.match(plain, /daybreak-mini at http:\/\/127\.0\.0\.1:8000, seed 4, 12\.3 s\n/)
  t.match(plain, /talk.*90\.0 %.*59\.6 % to 98\.2 %.* 9 .* 10 /)
  t.notMatch(plain, /recorded/)
  const compared = formatReport(report, new Map([['talk', 1]]))
  t.match(compared, /recorded/)
  t.match(compared, /talk.*100\.0 %/)
})
