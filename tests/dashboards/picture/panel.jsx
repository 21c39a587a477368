// One panel, by the component that Grafana draws it with.
import { getDisplayValueAlignmentFactors, getFieldDisplayValues } from '@grafana/data';
import { BarGauge, BigValue, PanelChrome, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { useEffect, useState } from 'react';
import { framesOf, replace } from './frames.js';

function reduced(panel, frames, theme, sparkline) {
  return getFieldDisplayValues({ data: frames, fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: replace, theme, sparkline, timeZone: 'utc' });
}

function Stat({ panel, frames, theme, width, height }) {
  const { graphMode, colorMode, justifyMode, textMode } = panel.options;
  const [first] = reduced(panel, frames, theme, graphMode === 'area');
  // One value needs no name: that is what `auto` means there.
  const value = { ...first.display, title: textMode === 'auto' ? undefined : first.display.title };
  return <BigValue value={value} sparkline={graphMode === 'area' ? first.sparkline : undefined} theme={theme} width={width} height={height} graphMode={graphMode} colorMode={colorMode} justifyMode={justifyMode} textMode={textMode} />;
}

function Bars({ panel, frames, theme, width, height }) {
  const { displayMode, orientation, showUnfilled, valueMode, namePlacement, minVizWidth, minVizHeight, maxVizHeight } = panel.options;
  const one = ({ value, width, height, alignmentFactors }) => (
    <BarGauge value={value.display} display={value.view?.getFieldDisplayProcessor(value.colIndex)} field={value.field} theme={theme} width={width} height={height} orientation={orientation}
      displayMode={displayMode} showUnfilled={showUnfilled} valueDisplayMode={valueMode} namePlacement={namePlacement} alignmentFactors={alignmentFactors} itemSpacing={10} lcdCellWidth={12} />
  );
  return <VizRepeater source={frames} getValues={() => reduced(panel, frames, theme, false)} getAlignmentFactors={getDisplayValueAlignmentFactors} renderValue={one} renderCounter={1} width={width} height={height}
    orientation={orientation} minVizWidth={minVizWidth} minVizHeight={minVizHeight} maxVizHeight={maxVizHeight} itemSpacing={10} />;
}

function Lines({ panel, frames, range, width, height }) {
  return <TimeSeries frames={frames} structureRev={1} width={width} height={height} timeRange={range} timeZone="utc" legend={panel.options.legend} options={panel.options} />;
}

function Rows({ panel, frames, width, height }) {
  return <TableNG data={frames[0]} width={width} height={height} noHeader={!panel.options.showHeader} initialSortBy={panel.options.sortBy} cellHeight={panel.options.cellHeight} enableSharedCrosshair={false} structureRev={1}
    fieldConfig={panel.fieldConfig} getActions={() => []} replaceVariables={replace} timeRange={undefined} />;
}

const KINDS = { stat: Stat, bargauge: Bars, timeseries: Lines, table: Rows };

export function Panel({ panel, answers, range, theme, width, height }) {
  const [frames, setFrames] = useState();
  useEffect(() => {
    framesOf(panel, answers, range, theme).then(setFrames, (error) => setFrames(error));
  }, [panel, answers, range, theme]);
  const Kind = KINDS[panel.type];
  const isEmpty = !answers.some(({ result }) => result.length > 0);
  return (
    <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
      {(innerWidth, innerHeight) => {
        if (isEmpty) return <div data-empty={panel.title} style={{ padding: 20, opacity: 0.6 }}>No data</div>;
        if (frames instanceof Error) throw frames;
        if (!frames) return null;
        return <Kind panel={panel} frames={frames} range={range} theme={theme} width={innerWidth} height={innerHeight} />;
      }}
    </PanelChrome>
  );
}
