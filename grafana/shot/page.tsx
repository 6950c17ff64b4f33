// A whole dashboard: 24 columns, rows of 30 px, gaps of 8 px, as Grafana lays it out.
import * as Data from '@grafana/data';
import * as UI from '@grafana/ui';
import React from 'react';
import { createRoot } from 'react-dom/client';

import { filled, rangeOf, settings, variables } from './data';
import { log, Panel, theme } from './panels';
import { fillRegistries } from './registries';

const HEAD = 48;
const ROW = 38;
const GAP = 8;

function themed(content: React.ReactNode) {
  return (
    <Data.ThemeContext.Provider value={theme}>
      <UI.GlobalStyles />
      {content}
    </Data.ThemeContext.Provider>
  );
}

async function main(): Promise<void> {
  fillRegistries();
  const dashboard = await (await fetch('/dashboard.json')).json();
  const range = rangeOf(dashboard.time);
  const vars = await variables(dashboard, range);
  const width = Number(settings.get('width') ?? 1600);
  const column = (width - 2 * GAP) / 24;
  const box = ({ x, y, w, h }: any) => ({
    left: GAP + x * column,
    top: HEAD + y * ROW,
    width: w * column - GAP,
    height: h * ROW - GAP,
  });
  const bottom = Math.max(...dashboard.panels.map(({ gridPos }: any) => gridPos.y + gridPos.h));
  log.height = HEAD + bottom * ROW + GAP;
  log.pending = dashboard.panels.filter((panel: any) => panel.type !== 'row').length;
  const place = (panel: any) => {
    const at = box(panel.gridPos);
    return (
      <div key={panel.id} data-panel={panel.id} style={{ position: 'absolute', ...at }}>
        {panel.type === 'row' ? (
          <div style={{ padding: '4px 8px', fontSize: 16, fontWeight: 500 }}>{panel.title}</div>
        ) : (
          <Panel panel={{ ...panel, title: filled(panel.title, vars) }} vars={vars} range={range} {...at} />
        )}
      </div>
    );
  };
  const { canvas } = theme.colors.background;
  const root = createRoot(document.getElementById('root')!);
  root.render(themed(null));
  await new Promise((resolve) => setTimeout(resolve, 100)); // the styles are there: fonts can be loaded, then measured
  await Promise.all(['400', '500'].map((weight) => document.fonts.load(`${weight} 14px Inter`)));
  root.render(
    themed(
      <div style={{ position: 'relative', width, height: log.height, background: canvas }}>
        <div style={{ position: 'absolute', left: 16, top: 12, fontSize: 18, fontWeight: 500 }}>{dashboard.title}</div>
        {dashboard.panels.map(place)}
      </div>
    )
  );
}

(window as any).shot = log;
main().catch((error) => {
  log.errors.push(String(error));
  log.pending = 0;
});
