// From a dashboard's targets to Grafana's data frames, as the Prometheus data source would.
import * as Data from '@grafana/data';

export type Vars = Record<string, string>;
export type Range = { from: number; to: number };
export const settings = new URLSearchParams(location.search);

const SECONDS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };
const SCRAPE = 30; // seconds between scrapes, as prometheus.yml says

export function filled(text: string, vars: Vars): string {
  return text.replace(/\$\{(\w+)(?::\w+)?\}|\$(\w+)/g, (all, braced, bare) => vars[braced || bare] ?? all);
}

async function ask(path: string, parameters: Record<string, string>): Promise<any> {
  const answer = await fetch(`/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const body = await answer.json();
  if (body.status !== 'success') throw new Error(body.error);
  return body.data;
}

function seconds(text = ''): number {
  const parts = /^(\d+)([smhdw])$/.exec(text);
  return parts ? Number(parts[1]) * SECONDS[parts[2]] : 0;
}

export function rangeOf(time: { from: string; to: string }): Range {
  const instant = (text: string, roundUp: boolean) => Data.dateMath.parse(text, roundUp, 'utc')!.valueOf();
  return {
    from: instant(settings.get('from') ?? time.from, false),
    to: instant(settings.get('to') ?? time.to, true),
  };
}

/** A value for each variable: as set, else all of it, else its default, else the first there is. */
export async function variables(dashboard: any, range: Range): Promise<Vars> {
  const vars: Vars = {};
  for (const variable of dashboard.templating.list) {
    const set = settings.get(`var-${variable.name}`);
    if (set) vars[variable.name] = set;
    else if (variable.type === 'datasource') vars[variable.name] = 'prometheus';
    else if (variable.includeAll) vars[variable.name] = variable.allValue;
    else if (variable.current?.value) vars[variable.name] = variable.current.value;
    else {
      const [, match, label] = /label_values\((.+), (\w+)\)/.exec(filled(variable.query.query, vars))!;
      const window = { start: String(range.from / 1000), end: String(range.to / 1000) };
      vars[variable.name] = (await ask(`label/${label}/values`, { 'match[]': match, ...window }))[0] ?? '';
    }
  }
  return vars;
}

function legend(target: any, labels: Record<string, string>): string {
  if (target.legendFormat !== '__auto') {
    return target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_: string, label: string) => labels[label] ?? '');
  }
  return Object.entries(labels).map(([label, value]) => `${label}="${value}"`).join(', ');
}

function series(target: any, labels: Record<string, string>, times: number[], values: Array<number | null>, step = 0) {
  const name = legend(target, labels);
  return Data.toDataFrame({
    refId: target.refId,
    name,
    fields: [
      { name: 'Time', type: Data.FieldType.time, values: times, config: { interval: step * 1000 } },
      { name: 'Value', type: Data.FieldType.number, labels, values, config: { displayNameFromDS: name } },
    ],
  });
}

function rows(target: any, results: any[], only: boolean) {
  const labels = [...new Set(results.flatMap((one) => Object.keys(one.metric)))].sort();
  const text = (name: string) => ({
    name,
    type: Data.FieldType.string,
    values: results.map((one) => one.metric[name] ?? ''),
    config: {},
  });
  return Data.toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: Data.FieldType.time, values: results.map((one) => one.value[0] * 1000), config: {} },
      ...labels.map(text),
      {
        name: only ? 'Value' : `Value #${target.refId}`,
        type: Data.FieldType.number,
        values: results.map((one) => Number(one.value[1])),
        config: {},
      },
    ],
  });
}

/** All frames of a panel, before its transformations. */
export async function framesOf(panel: any, vars: Vars, range: Range, width: number): Promise<Data.DataFrame[]> {
  const span = (range.to - range.from) / 1000;
  const least = Math.max(span / width, seconds(panel.interval), SCRAPE);
  const step = Math.max(1, Math.round(Data.rangeUtil.roundInterval(least * 1000) / 1000));
  const known = { ...vars, __interval: `${step}s`, __rate_interval: `${Math.max(step + SCRAPE, 4 * SCRAPE)}s` };
  const frames: Data.DataFrame[] = [];
  for (const target of panel.targets) {
    const expression = filled(target.expr, known);
    if (target.instant) {
      const { result } = await ask('query', { query: expression, time: String(range.to / 1000) });
      if (target.format === 'table') frames.push(rows(target, result, panel.targets.length === 1));
      else for (const one of result) frames.push(series(target, one.metric, [one.value[0] * 1000], [Number(one.value[1])]));
    } else {
      const [start, end] = [range.from, range.to].map((edge) => Math.floor(edge / 1000 / step) * step);
      const window = { start: String(start), end: String(end), step: String(step) };
      const { result } = await ask('query_range', { query: expression, ...window });
      const times = Array.from({ length: (end - start) / step + 1 }, (_, i) => start + i * step);
      for (const one of result) {
        const at = new Map<number, number>(one.values.map(([time, value]: [number, string]) => [time, Number(value)]));
        frames.push(series(target, one.metric, times.map((t) => t * 1000), times.map((t) => at.get(t) ?? null), step));
      }
    }
  }
  return frames;
}
