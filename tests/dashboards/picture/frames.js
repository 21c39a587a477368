// Answers of Prometheus as Grafana's data frames, the way its Prometheus data source makes them.
import {
  FieldConfigOptionsRegistry, FieldType, applyFieldOverrides, cacheFieldDisplayNames, dateTime, displayNameOverrideProcessor, identityOverrideProcessor, numberOverrideProcessor,
  standardEditorsRegistry, standardFieldConfigEditorRegistry, standardTransformers, standardTransformersRegistry, stringOverrideProcessor, thresholdsOverrideProcessor, toDataFrame,
  transformDataFrame, unitOverrideProcessor, valueMappingsOverrideProcessor,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';

const seen = new Set();
const transformers = Object.values(standardTransformers).filter((one) => one?.id && !seen.has(one.id) && seen.add(one.id));
standardTransformersRegistry.setInit(() => transformers.map((one) => ({ id: one.id, name: one.name, transformation: () => Promise.resolve(one), editor: () => null })));
standardEditorsRegistry.setInit(() => []);

const option = (path, process, more = {}) => ({ id: path, path, name: path, editor: () => null, override: () => null, process, settings: {}, shouldApply: () => true, ...more });
const custom = (path) => option(path, identityOverrideProcessor, { id: `custom.${path}`, isCustom: true });
const CUSTOM = [
  'drawStyle', 'lineInterpolation', 'lineWidth', 'fillOpacity', 'gradientMode', 'showPoints', 'pointSize', 'spanNulls', 'barAlignment', 'stacking', 'axisPlacement', 'axisLabel',
  'axisColorMode', 'axisBorderShow', 'axisCenteredZero', 'scaleDistribution', 'hideFrom', 'thresholdsStyle', 'align', 'cellOptions', 'inspect', 'filterable',
];
const standard = [
  option('unit', unitOverrideProcessor), option('min', numberOverrideProcessor), option('max', numberOverrideProcessor), option('decimals', numberOverrideProcessor),
  option('displayName', displayNameOverrideProcessor), option('noValue', stringOverrideProcessor), option('thresholds', thresholdsOverrideProcessor),
  option('mappings', valueMappingsOverrideProcessor), option('color', identityOverrideProcessor),
];
standardFieldConfigEditorRegistry.setInit(() => standard);
export const registry = new FieldConfigOptionsRegistry(() => [...standard, ...CUSTOM.map(custom)]);

export const replace = (text) => text;

export function timeRange(from, to) {
  return { from: dateTime(from), to: dateTime(to), raw: { from: dateTime(from), to: dateTime(to) } };
}

// A gap, and what is no number, is null.
const number = (text) => (Number.isFinite(Number(text)) ? Number(text) : null);

function named(legend, labels) {
  return legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? '');
}

function series({ refId, legend, result, step }, range) {
  return result.map(({ metric, values, value }) => {
    const name = named(legend, metric);
    // As a range query is asked: one place for each step, empty where there is nothing.
    const found = new Map((values ?? [value]).map(([at, text]) => [Math.round(at * 1000), number(text)]));
    const times = values ? steps(range, step) : [...found.keys()];
    return toDataFrame({
      refId, name,
      fields: [
        { name: 'Time', type: FieldType.time, values: times, config: { interval: step * 1000 } },
        { name: 'Value', type: FieldType.number, values: times.map((at) => found.get(at) ?? null), labels: metric, config: { displayNameFromDS: name } },
      ],
    });
  });
}

function steps(range, step) {
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  return Array.from({ length: Math.floor((to - from) / (step * 1000)) + 1 }, (_, place) => from + place * step * 1000);
}

function rows({ refId, result }, several) {
  const labels = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return toDataFrame({
    refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: result.map(({ value }) => value[0] * 1000) },
      ...labels.map((label) => ({ name: label, type: FieldType.string, values: result.map(({ metric }) => metric[label] ?? '') })),
      { name: several ? `Value #${refId}` : 'Value', type: FieldType.number, values: result.map(({ value }) => number(value[1])) },
    ],
  });
}

// The frames that a panel draws: made, transformed, and with its units, colours and thresholds applied.
export async function framesOf(panel, answers, range, theme) {
  const isTable = panel.type === 'table';
  const made = answers.flatMap((answer) => (isTable ? [rows(answer, answers.length > 1)] : series(answer, range)));
  const transformed = panel.transformations.length ? await lastValueFrom(transformDataFrame(panel.transformations, made)) : made;
  const frames = applyFieldOverrides({ data: transformed, fieldConfig: panel.fieldConfig, fieldConfigRegistry: registry, replaceVariables: replace, theme, timeZone: 'utc' });
  cacheFieldDisplayNames(frames);
  return frames;
}
