import type { Row } from './report.ts';

const width = 860;
const labelWidth = 430;
const rowHeight = 18;
const barHeight = 11;
/** Where a bar ends that would be longer. */
const most = 2;

/**
 * The rows that compare something as horizontal bars: our share of the other's time or memory, with a line at 1, where both
 * are alike. A text with neutral colours, for light and dark pages.
 */
export function toChart(title: string, rows: readonly Row[]): string {
  const compared = rows.flatMap((row) => (row.share === undefined ? [] : [{ ...row, share: row.share }]));
  const height = rowHeight * (compared.length + 2) + 8;
  const scale = (width - labelWidth - 60) / most;
  const one = labelWidth + scale;
  const bars = compared.map(({ what, other, share, met }, index) => {
    const y = rowHeight * (index + 1) + 8;
    const length = Math.min(share, most) * scale;
    const text = `${what}: ${other.replace(/^\S+ \S+ /, '')}`;
    return [
      `<text x="${labelWidth - 8}" y="${y + barHeight - 1}" text-anchor="end">${toText(text)}</text>`,
      `<rect x="${labelWidth}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}" fill="${met === false ? '#c2703d' : '#3d7dc2'}"/>`,
      `<text x="${(labelWidth + length + 5).toFixed(1)}" y="${y + barHeight - 1}">${share.toFixed(2)}</text>`,
    ].join('');
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" font-family="sans-serif" font-size="11" fill="#808080">`,
    `<title>${toText(title)}</title>`,
    `<text x="${one}" y="14" text-anchor="middle">1: alike; shorter is less of ours</text>`,
    ...bars,
    `<line x1="${one}" x2="${one}" y1="20" y2="${height - 4}" stroke="#808080" stroke-dasharray="3 3"/>`,
    '</svg>',
    '',
  ].join('\n');
}

function toText(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
