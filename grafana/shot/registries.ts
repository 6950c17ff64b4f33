// What the Grafana application fills in before it draws a panel: known field options and transformations.
import * as Data from '@grafana/data';

const STANDARD = ['unit', 'min', 'max', 'decimals', 'displayName', 'color', 'noValue', 'thresholds', 'mappings', 'links'];
const CUSTOM = [
  'drawStyle', 'lineInterpolation', 'lineWidth', 'lineStyle', 'fillOpacity', 'gradientMode', 'spanNulls', 'showPoints',
  'pointSize', 'barAlignment', 'axisPlacement', 'axisLabel', 'scaleDistribution', 'stacking', 'hideFrom',
  'thresholdsStyle', 'width', 'minWidth', 'align', 'cellOptions', 'inspect', 'filterable',
];

function option(id: string): any {
  return {
    id,
    name: id,
    path: id.replace(/^custom\./, ''),
    isCustom: id.startsWith('custom.'),
    process: (value: unknown) => value,
    shouldApply: () => true,
    settings: {},
    editor: () => null,
    override: () => null,
  };
}

const known = new Map([...STANDARD, ...CUSTOM.map((id) => `custom.${id}`)].map((id) => [id, option(id)]));

export const fieldOptions: any = {
  getIfExists: (id: string) => known.get(id),
  get: (id: string) => known.get(id),
  list: () => [...known.values()],
};

export function fillRegistries(): void {
  Data.standardFieldConfigEditorRegistry.setInit(() => STANDARD.map(option));
  const unique = new Map(Object.values(Data.standardTransformers as any).map((one: any) => [one.id, one]));
  Data.standardTransformersRegistry.setInit(
    () =>
      [...unique.values()].map((one: any) => ({
        id: one.id,
        name: one.name,
        transformation: () => Promise.resolve(one),
        editor: () => null,
        imageDark: '',
        imageLight: '',
      })) as any
  );
}
