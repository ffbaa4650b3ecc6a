import type { Chance } from '../../gateway/model/chance.js';

type Choice = readonly [weight: number, program: string];

const ends = ['exit:0', 'exit:3', 'die:KILL', 'die:SEGV', 'die:TERM'] as const;
const kinds = ['group', 'stubborn', 'pipes', 'session', 'session-pipes'] as const;

/** What a server does with a call, in words that it knows. @param odd - the weight of what ends it, or leaves the call open */
export function chooseProgram(chance: Chance, odd: number): string {
  const ms = () => chance.one([0, 1, 5, 20, 60]);
  const end = chance.one(ends);
  const reply = chance.weigh<string>([
    [12, 'reply'],
    [3, `wait:${ms()} reply`],
    [3, `pieces:${chance.one([2, 5])}:${chance.one([0, 2, 10])} reply`],
    [2, 'crlf reply'],
    [1, 'empty reply empty'],
    [1, 'noise reply noise'],
    [1, `big:${chance.one([1_000, 70_000, 150_000])} reply`],
    [1, 'big:1048576 reply'],
    [1, `big:1048576 pieces:5:2 reply`],
    [1, `err:${chance.one([100, 200_000])} reply`],
    [2, 'say reply say'],
    [1, `many:${chance.one([100, 1_000])} reply`],
    [2, `ask:${chance.one(['ping', 'roots/list', 'sampling/createMessage'])} wait:${ms()} reply`],
    [1, 'changed reply'],
    [1, `deaf:${chance.one([30, 150])} reply`],
  ]);
  const words = chance.oneIn(2) ? `err:${chance.one([0, 100_000])} words ` : '';
  const odds: readonly Choice[] = [
    [3, `${reply} ${words}${end}`],
    [1, `many:3000 ${reply} ${end}`],
    [1, `big:1048576 reply ${words}${end}`],
    [2, `${words}${end}`],
    [2, `wait:${ms()} ${words}${end}`],
    [1, `half ${words}${end}`],
    [1, `${reply} shutout`],
    [1, 'half shutout'],
    [1, `${reply} shutin`],
    [1, `${reply} shutin wait:${ms()} say`],
    [1, 'shutout shutin'],
    [1, `deaf:${chance.one([600, 100_000])}`],
    [1, 'huge'],
    [1, `${reply} huge`],
    [2, ''],
    [2, `${reply} ignore eof:ignore`],
    [1, `ignore eof:ignore ${reply} ${words}${end}`],
    [1, `eof:slow:40 ${reply}`],
    [3, `fork:${chance.one(kinds)} ${reply}`],
    [2, `fork:${chance.one(kinds)} ${reply} ${words}${end}`],
  ];
  return chance.weigh<string>([[30, reply], ...odds.map(([weight, program]) => [weight * odd, program] as const)]);
}

/** What a process does at its start, and with the first message of a handshake. */
export function choosePlan(chance: Chance): string {
  const end = chance.one(ends);
  const ms = chance.one([0, 5, 50]);
  return chance.weigh<string>([
    [30, '|'],
    [2, 'ignore eof:ignore|'],
    [2, `fork:${chance.one(kinds)}|`],
    [1, 'noise say err:5000|noise reply'],
    [1, 'say changed|say reply'],
    [1, `eof:slow:${chance.one([10, 3_000])}|`],
    [1, `err:200000 words ${end}|`],
    [1, `wait:${ms} ${end}|`],
    [1, `wait:${ms} shutout|`],
    [1, `shutin wait:${ms} ${end}|`],
    [1, `|wait:${ms} words ${end}`],
    [1, `|half ${end}`],
    [1, `|reply ${end}`],
    [1, '|pieces:5:10 reply'],
    [1, `|wait:${ms} crlf reply`],
    [1, '|huge'],
    [1, '|wait:100000'],
    [1, '|deaf:100000'],
    [1, '|shutout'],
  ]);
}

/** It answers all calls, unless they say something else. */
export function isHarmless(plan: string): boolean {
  return !/exit|die|shut|huge|100000|half/.test(plan);
}

/** Something that a caller sends along, which the server need not read. */
export function choosePadding(chance: Chance): string {
  return 'x'.repeat(
    chance.weigh([
      [20, 0],
      [3, 3_000],
      [2, 40_000],
      [1, 400_000],
      [1, 1_000_000],
    ]),
  );
}
