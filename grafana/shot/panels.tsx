// Our four kinds of panel, drawn by Grafana's components.
import * as Data from '@grafana/data';
import * as UI from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import React from 'react';
import { firstValueFrom } from 'rxjs';

import { filled, framesOf, Range, settings, Vars } from './data';
import { fieldOptions } from './registries';

export const theme = Data.createTheme({ colors: { mode: (settings.get('theme') ?? 'dark') as 'dark' | 'light' } });

export type Log = { pending: number; height: number; empty: string[]; errors: string[] };
export const log: Log = { pending: -1, height: 0, empty: [], errors: [] };

/** Grafana reads a null threshold as minus infinity when it loads a dashboard. */
function opened(thresholds: any): any {
  return { ...thresholds, steps: thresholds.steps.map((step: any) => ({ ...step, value: step.value ?? -Infinity })) };
}

function fieldConfig(panel: any): any {
  const { defaults, overrides } = panel.fieldConfig;
  const property = (one: any) => (one.id === 'thresholds' ? { ...one, value: opened(one.value) } : one);
  return {
    defaults: { ...defaults, thresholds: opened(defaults.thresholds) },
    overrides: overrides.map((one: any) => ({ ...one, properties: one.properties.map(property) })),
  };
}

async function dataOf(panel: any, vars: Vars, range: Range, width: number): Promise<Data.DataFrame[]> {
  let frames = await framesOf(panel, vars, range, width);
  const interpolate = (text: string) => filled(text, vars);
  if (panel.transformations) {
    const context = { interpolate } as any;
    frames = await firstValueFrom(Data.transformDataFrame(panel.transformations, frames, context));
  }
  const data = Data.applyFieldOverrides({
    data: frames,
    fieldConfig: fieldConfig(panel),
    fieldConfigRegistry: fieldOptions,
    replaceVariables: interpolate,
    theme,
    timeZone: 'utc',
  });
  Data.cacheFieldDisplayNames(data);
  return data;
}

type Drawn = { panel: any; data: Data.DataFrame[]; width: number; height: number; range: Range; vars: Vars };

function TimeSeries({ panel, data, width, height, range }: Drawn) {
  const [from, to] = [Data.dateTime(range.from), Data.dateTime(range.to)];
  return (
    <UI.TimeSeries
      frames={data}
      structureRev={1}
      width={width}
      height={height}
      timeRange={{ from, to, raw: { from, to } }}
      timeZone="utc"
      legend={panel.options.legend}
      options={panel.options}
    >
      {() => null}
    </UI.TimeSeries>
  );
}

function Values({ panel, data, width, height, vars }: Drawn) {
  const { options } = panel;
  const values = () =>
    Data.getFieldDisplayValues({
      fieldConfig: fieldConfig(panel),
      reduceOptions: options.reduceOptions,
      replaceVariables: (text: string) => filled(text, vars),
      theme,
      data,
      timeZone: 'utc',
    });
  const one = ({ value, width, height, orientation, alignmentFactors, count }: any) =>
    panel.type === 'stat' ? (
      <UI.BigValue
        value={value.display}
        count={count}
        colorMode={options.colorMode}
        graphMode={options.graphMode}
        justifyMode={options.justifyMode}
        textMode={options.textMode}
        text={options.text}
        alignmentFactors={alignmentFactors}
        disableWideLayout
        width={width}
        height={height}
        theme={theme}
      />
    ) : (
      <UI.BarGauge
        value={value.display}
        field={value.field}
        display={value.view?.getFieldDisplayProcessor(value.colIndex)}
        text={options.text}
        displayMode={options.displayMode}
        showUnfilled={options.showUnfilled}
        valueDisplayMode={options.valueMode}
        namePlacement={options.namePlacement}
        orientation={orientation}
        alignmentFactors={alignmentFactors}
        itemSpacing={10}
        width={width}
        height={height}
        theme={theme}
      />
    );
  return (
    <UI.VizRepeater
      source={data}
      renderCounter={0}
      autoGrid={panel.type === 'stat'}
      itemSpacing={10}
      minVizHeight={options.minVizHeight}
      minVizWidth={options.minVizWidth}
      orientation={options.orientation}
      getValues={values}
      getAlignmentFactors={(found: any) => Data.getDisplayValueAlignmentFactors(found)}
      renderValue={one}
      width={width}
      height={height}
    />
  );
}

function Table({ panel, data, width, height, range }: Drawn) {
  const [from, to] = [Data.dateTime(range.from), Data.dateTime(range.to)];
  return (
    <TableNG
      data={data[0]}
      width={width}
      height={height}
      cellHeight={panel.options.cellHeight}
      fieldConfig={fieldConfig(panel)}
      timeRange={{ from, to, raw: { from, to } }}
      structureRev={1}
      enableVirtualization={false}
    />
  );
}

const KINDS: Record<string, React.FC<Drawn>> = { timeseries: TimeSeries, stat: Values, bargauge: Values, table: Table };

function Nothing({ text, width, height }: { text: string; width: number; height: number }) {
  const color = theme.colors.text.secondary;
  return <div style={{ width, height, color, display: 'grid', placeItems: 'center', textAlign: 'center' }}>{text}</div>;
}

class Guard extends React.Component<{ title: string; children: React.ReactNode }, { broken: boolean }> {
  state = { broken: false };
  static getDerivedStateFromError = () => ({ broken: true });
  componentDidCatch(error: Error) {
    log.errors.push(`${this.props.title}: ${error.message}`);
  }
  render() {
    return this.state.broken ? null : this.props.children;
  }
}

export function Panel({ panel, vars, range, width, height }: Omit<Drawn, 'data'>) {
  const [data, setData] = React.useState<Data.DataFrame[]>();
  React.useEffect(() => {
    dataOf(panel, vars, range, width)
      .then((found) => {
        if (found.every((frame) => !frame.length)) log.empty.push(panel.title);
        setData(found.filter((frame) => frame.length));
      })
      .catch((error) => {
        log.errors.push(`${panel.title}: ${error.message}`);
        setData([]);
      })
      .finally(() => setTimeout(() => log.pending--, 300));
  }, []);
  const Kind = KINDS[panel.type];
  if (!Kind) log.errors.push(`${panel.title}: no component for ${panel.type}`);
  const drawn = (inner: number, high: number) => {
    if (!data || !Kind) return null;
    if (!data.length) return <Nothing text={panel.fieldConfig.defaults.noValue} width={inner} height={high} />;
    return <Kind panel={panel} data={data} width={inner} height={high} range={range} vars={vars} />;
  };
  return (
    <UI.PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
      {(inner, high) => <Guard title={panel.title}>{drawn(inner, high)}</Guard>}
    </UI.PanelChrome>
  );
}
