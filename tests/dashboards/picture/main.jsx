// Draws a dashboard by Grafana's own libraries over answers of Prometheus that were kept: window.draw({dashboard, answers, from, to}).
import { EventBusSrv, createTheme } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { GlobalStyles, PanelContextProvider, ThemeContext } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { Panel } from './panel.jsx';
import { timeRange } from './frames.js';

const theme = createTheme({ colors: { mode: 'dark' } });
const WIDTH = 1600;
const ROW = 34;
const GAP = 8;

function Variables({ list }) {
  const shown = list.filter((one) => one.type !== 'datasource');
  return shown.map((one) => (
    <span key={one.name} style={{ marginRight: 16, fontSize: 13 }}>
      <span style={{ background: theme.colors.background.secondary, padding: '6px 8px' }}>{one.label}</span>
      <span style={{ background: theme.components.input.background, border: `1px solid ${theme.colors.border.medium}`, padding: '5px 10px' }}>{String(one.current.text)}</span>
    </span>
  ));
}

function Dashboard({ dashboard, answers, range }) {
  const unit = (WIDTH - 2 * GAP) / 24;
  const bottom = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  return (
    <div id="dashboard" style={{ width: WIDTH, background: theme.colors.background.canvas, color: theme.colors.text.primary, padding: GAP, boxSizing: 'border-box' }}>
      <div style={{ fontSize: 18, padding: '4px 8px 12px' }}>{dashboard.title}</div>
      <div style={{ padding: '0 8px 14px' }}>
        <Variables list={dashboard.templating.list} />
      </div>
      <div style={{ position: 'relative', height: bottom * ROW }}>
        {dashboard.panels.map((panel) => {
          const { x, y, w, h } = panel.gridPos;
          const place = { position: 'absolute', left: x * unit, top: y * ROW, width: w * unit - GAP, height: h * ROW - GAP };
          return (
            <div key={panel.id} style={place}>
              {panel.type === 'row' ? (
                <div style={{ fontSize: 15, fontWeight: 500, padding: '4px 0' }}>{panel.title}</div>
              ) : (
                <Panel panel={panel} answers={answers[panel.id]} range={range} theme={theme} width={place.width} height={place.height} />
              )}
            </div>
          );
        })}
      </div>
    </div>
  );
}

window.draw = async ({ dashboard, answers, from, to }) => {
  await initPluginTranslations('bowsprit');
  const context = { eventBus: new EventBusSrv(), eventsScope: 'global', canAddAnnotations: () => false };
  createRoot(document.getElementById('root')).render(
    <ThemeContext.Provider value={theme}>
      <PanelContextProvider value={context}>
        <GlobalStyles isExtensionSidebarOpen={false} />
        <Dashboard dashboard={dashboard} answers={answers} range={timeRange(from, to)} />
      </PanelContextProvider>
    </ThemeContext.Provider>
  );
};
