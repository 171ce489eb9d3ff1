//! The terminal while the live view has it: raw mode, keys, and everything as it was in the end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::cursor::Show;
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use crossterm::execute;
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Position;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Widget};
use ratatui::{Terminal, TerminalOptions, Viewport};
use squall_engine::{Control, NodeKind, State};
use squall_model::RunId;
use tokio::sync::{mpsc, watch};

use super::format::wrap;
use super::view::LiveView;
use super::{Story, Tale, draw, plain};

/// How long to wait for a key before the view is drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// Whether the terminal is in raw mode by us.
static RAW: AtomicBool = AtomicBool::new(false);

/// Puts the terminal back as it was. Safe to call at any time and more than once.
fn restore() {
    if RAW.swap(false, Ordering::SeqCst) {
        // There is nobody to tell if the terminal itself is gone.
        let _ = disable_raw_mode();
        let _ = execute!(io::stdout(), Show);
    }
}

/// The terminal in raw mode, until this is dropped.
struct Raw;

impl Raw {
    fn enter() -> io::Result<Self> {
        static HOOK: std::sync::Once = std::sync::Once::new();
        // A message about a panic is readable only on a terminal that is as it was.
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                before(info);
            }));
        });
        enable_raw_mode()?;
        RAW.store(true, Ordering::SeqCst);
        Ok(Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Shows the run until it is over or the person leaves. The last view stays on the terminal.
pub fn show(
    colour: bool,
    _run: &RunId,
    states: watch::Receiver<Arc<State>>,
    control: &mpsc::UnboundedSender<Control>,
    leave: &mpsc::UnboundedSender<()>,
) -> io::Result<()> {
    let raw = Raw::enter()?;
    let height = height(&states.borrow())?;
    let options = TerminalOptions { viewport: Viewport::Inline(height) };
    let terminal = Terminal::with_options(CrosstermBackend::new(io::stdout()), options)?;
    let mut screen = Screen { terminal, colour, story: Story::default(), height };
    let mut keys = Keys { asked: false, control, leave };
    let mut age = Age::new(states);
    let end = loop {
        let (state, over) = age.look();
        screen.draw(&state, age.now(&state))?;
        if over {
            break Ok(());
        }
        match keys.wait()? {
            Wish::None => {}
            Wish::Resized => screen.resize()?,
            Wish::Leave => break Ok(()),
        }
    };
    screen.finish()?;
    drop(raw);
    end
}

/// As many lines as the view can use, if the terminal has them.
fn height(state: &State) -> io::Result<u16> {
    let program = &state.program;
    let faults = program.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Fault(_))).count();
    let wanted = draw::wanted(program.probes.len(), program.guards.len() + program.comparisons.len(), faults.min(4));
    let (_, rows) = crossterm::terminal::size()?;
    Ok(u16::try_from(wanted).unwrap_or(u16::MAX).min(rows.saturating_sub(1)).max(1))
}

/// The last state, and what time it is now in the run.
struct Age {
    states: watch::Receiver<Arc<State>>,
    came: Duration,
}

impl Age {
    fn new(mut states: watch::Receiver<Arc<State>>) -> Self {
        states.mark_changed();
        Self { states, came: boot_time() }
    }

    /// The last state, and whether there will be no other.
    fn look(&mut self) -> (Arc<State>, bool) {
        // Asked before the state is taken: one that comes in between is looked at the next time.
        let gone = self.states.has_changed().is_err();
        if self.states.has_changed().unwrap_or(false) {
            self.came = boot_time();
        }
        let state = self.states.borrow_and_update().clone();
        let over = gone || state.verdict.is_some();
        (state, over)
    }

    fn now(&self, state: &State) -> u64 {
        let old = if state.verdict.is_some() { Duration::ZERO } else { boot_time().saturating_sub(self.came) };
        state.now + u64::try_from(old.as_micros()).unwrap_or_default()
    }
}

fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

struct Screen {
    terminal: Terminal<CrosstermBackend<io::Stdout>>,
    colour: bool,
    story: Story,
    height: u16,
}

impl Screen {
    fn draw(&mut self, state: &State, now: u64) -> io::Result<()> {
        for tale in self.story.tell(state) {
            self.print(&tale)?;
        }
        let (view, colour) = (LiveView::at(state, now), self.colour);
        self.terminal.draw(|frame| draw::draw(frame, &view, colour))?;
        Ok(())
    }

    /// A line above the view, which scrolls away with all that came before.
    fn print(&mut self, tale: &Tale) -> io::Result<()> {
        let style = draw::mark(tale.mark, self.colour);
        // One column less: some signs are two columns wide.
        let width = usize::from(self.terminal.size()?.width).saturating_sub(1);
        let lines = wrap(&plain::line(tale, false), width, 12);
        let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        let text: Vec<Line<'_>> = lines.into_iter().map(|line| Line::styled(line, style)).collect();
        self.terminal.insert_before(height, |buffer| Paragraph::new(text).render(buffer.area, buffer))
    }

    /// The terminal has another size: the view begins anew below whatever the terminal made of the old one.
    fn resize(&mut self) -> io::Result<()> {
        let (_, rows) = crossterm::terminal::size()?;
        let options = TerminalOptions { viewport: Viewport::Inline(self.height.min(rows.saturating_sub(1)).max(1)) };
        self.terminal.clear()?;
        self.terminal = Terminal::with_options(CrosstermBackend::new(io::stdout()), options)?;
        Ok(())
    }

    /// Leaves the last view where it is, and the cursor below it.
    fn finish(&mut self) -> io::Result<()> {
        let area = self.terminal.get_frame().area();
        self.terminal.set_cursor_position(Position { x: 0, y: area.bottom().saturating_sub(1) })?;
        // In raw mode a line feed alone does not go back to the first column.
        io::Write::write_all(&mut io::stdout(), b"\r\n")?;
        io::Write::flush(&mut io::stdout())
    }
}

enum Wish {
    None,
    Resized,
    Leave,
}

struct Keys<'a> {
    /// A stop was asked for here.
    asked: bool,
    control: &'a mpsc::UnboundedSender<Control>,
    leave: &'a mpsc::UnboundedSender<()>,
}

impl Keys<'_> {
    fn wait(&mut self) -> io::Result<Wish> {
        if !poll(TICK)? {
            return Ok(Wish::None);
        }
        Ok(match read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.pressed(key),
            Event::Resize(..) => Wish::Resized,
            _ => Wish::None,
        })
    }

    /// Raw mode gives Ctrl-C as a key; a run that is over no longer listens, which is fine.
    fn pressed(&mut self, key: KeyEvent) -> Wish {
        let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            _ if interrupt && self.asked => {
                restore();
                let _ = self.leave.send(());
                return Wish::Leave;
            }
            _ if interrupt => self.stop("Ctrl-C"),
            KeyCode::Char('s') => self.stop("the key s"),
            KeyCode::Char('c') => {
                let _ = self.control.send(Control::Continue("the key c".into()));
            }
            _ => {}
        }
        Wish::None
    }

    fn stop(&mut self, by: &str) {
        self.asked = true;
        let _ = self.control.send(Control::Stop(by.into()));
    }
}
