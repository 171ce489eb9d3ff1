//! Journals as the engine writes them, without running anything: every event is given to the real state machine.

use std::sync::Arc;

use squall_engine::{Command, Program, Registry, State};
use squall_model::{
    Arm, Event, InjectionId, LatencySummary, Measured, Record, RevertedBy, RunId, Started, TargetRef, Timer, TrafficSummary, Value,
};
use squall_report::{Report, build};

/// With secrets in every place where a secret can be.
pub const MANIFEST: &str = r#"apiVersion: squall.dev/v1
kind: Experiment
metadata:
  name: checkout-survives-slow-payments
  labels: { team: checkout }
spec:
  hypothesis:
    statement: Checkout stays fast and correct while one of three payments processes hangs.
    probes:
      - name: checkout p99
        traffic: { from: shoppers, measure: p99 }
        expect: { lt: 500ms }
      - name: errors
        traffic: { from: shoppers, measure: errorRate }
        expect: { lt: 1% }
      - name: order state
        command: { run: [shopctl, state, --token=argument-secret], env: { SHOP_PASSWORD: env-secret }, measure: stdout }
        expect: { eq: open }
      - name: memory of gateway
        file: { path: /tmp/rss, measure: number }
  traffic:
    - name: shoppers
      http: { method: POST, url: "http://127.0.0.1:8080/checkout", headers: { Authorization: Bearer header-secret } }
      rate: 100/s
  steady: { for: 20s, every: 1s }
  method:
    - name: payments hangs
      fault: process.pause
      target: { process: { name: payments }, select: { percent: 30 } }
      for: 30s
  guards:
    - probe: errors
      abort: { gt: 40%, for: 10s }
      unmeasurable: ignore
  recovery: { within: 60s, stable: 5s }
"#;

pub fn registry() -> Registry {
    Registry { faults: squall_faults::all(), probes: squall_probes::all(), targets: squall_faults::targets() }
}

/// Writes a journal and keeps the state machine beside it.
pub struct Writer {
    pub records: Vec<Record>,
    state: State,
    now: u64,
}

pub const SECOND: u64 = 1_000_000;

impl Writer {
    pub fn new(manifest: &str) -> Self {
        let (experiment, _) = squall_model::parse_experiment(manifest).unwrap_or_else(|e| panic!("{e:?}"));
        let program = Arc::new(Program::compile(&experiment, &registry()).expect("compiles"));
        let mut writer = Self { records: Vec::new(), state: State::new(program), now: 0 };
        writer.event(0, Event::Started(Box::new(started(manifest, &experiment.metadata.name))));
        writer.event(100, Event::Planned);
        writer
    }

    /// Gives one event to the state machine, and its end to the journal when it says so.
    pub fn event(&mut self, at: u64, event: Event) {
        self.now = self.now.max(at);
        let commands = self.state.step(self.now, &event);
        self.records.push(Record { seq: self.records.len() as u64, at: self.now, event });
        if let Some(Command::Finish { verdict, reason }) = commands.into_iter().find(|c| matches!(c, Command::Finish { .. })) {
            self.event(self.now, Event::TrafficEnded { summaries: vec![traffic()] });
            self.event(self.now, Event::Ended { verdict, reason });
        }
    }

    pub fn sample(&mut self, at: u64, probe: usize, value: Value) {
        self.event(at + 2000, Event::Sampled { probe, took: 2000, measured: Measured::Value(value) });
    }

    pub fn unmeasured(&mut self, at: u64, probe: usize, why: &str) {
        self.event(at + 2000, Event::Sampled { probe, took: 2000, measured: Measured::Unmeasured(why.into()) });
    }

    pub fn ended(&self) -> bool {
        self.state.verdict.is_some()
    }

    pub fn report(&self) -> Report {
        build(&self.state.program, &registry(), &self.records).expect("a report")
    }
}

fn started(manifest: &str, name: &str) -> Started {
    Started {
        version: squall_model::JOURNAL_VERSION,
        run: "r0123456789ab".parse::<RunId>().expect("an id"),
        experiment: name.into(),
        manifest: manifest.into(),
        seed: 42,
        wall: "2026-11-21T05:39:34.848Z".into(),
        host: "shop-1".into(),
        user: "ada".into(),
        squall: "0.1.0".into(),
    }
}

fn traffic() -> TrafficSummary {
    let latency = LatencySummary { p50: 0.041, p90: 0.09, p95: 0.12, p99: 1.9, p999: 2.4, mean: 0.1, max: 2.51 };
    TrafficSummary {
        name: "shoppers".into(),
        requests: 7000,
        failed: 180,
        errors: [("status 503".to_owned(), 150), ("timeout".to_owned(), 30)].into(),
        rate: 99.98,
        latency,
    }
}

/// Some unrest, the same every time.
fn noise(i: u64) -> f64 {
    f64::from(u32::try_from(i.wrapping_mul(2_654_435_761) >> 7 & 0xff).expect("small")) / 255.0
}

fn samples(writer: &mut Writer, second: u64) {
    let at = second * SECOND;
    let (broken, late) = ((24..=52).contains(&second), (53..=56).contains(&second));
    let p99 = if broken {
        1.6 + 0.5 * noise(second)
    } else if late {
        0.7
    } else {
        0.09 + 0.05 * noise(second)
    };
    writer.sample(at + 10_000, 0, Value::Number(p99));
    if (35..=39).contains(&second) {
        writer.unmeasured(at + 20_000, 1, "no request was due with `header-secret`");
    } else {
        writer.sample(at + 20_000, 1, Value::Number(if broken { 0.02 + 0.1 * noise(second + 9) } else { 0.001 }));
    }
    writer.sample(at + 30_000, 2, Value::Text(if (30..=34).contains(&second) { "stuck" } else { "open" }.into()));
    writer.sample(at + 40_000, 3, Value::Number(80_000_000.0 + 1_000_000.0 * noise(second)));
}

/// A run that deviates: one target paused for 30 s, a gap in one probe, a text probe that is off for a while.
pub fn deviated() -> Writer {
    let mut writer = Writer::new(MANIFEST);
    let one = InjectionId(1);
    for second in 0..=200 {
        if second == 20 {
            writer.event(20 * SECOND + 200, Event::Elapsed { timer: Timer::SteadyEnd });
            let target = TargetRef { injection: one, id: "process:4711:99".into(), label: "payments (pid 4711)".into() };
            writer.event(20 * SECOND + 1_500, Event::Selected { node: 1, matched: 3, targets: vec![target], control: Vec::new() });
            writer.event(20 * SECOND + 2_000, Event::Armed { injection: one });
            writer.event(20 * SECOND + 3_000, Event::Injected { injection: one });
            let evidence = "state of process 4711 is T (stopped)".to_owned();
            writer.event(20 * SECOND + 5_000, Event::Verified { injection: one, in_force: true, evidence });
        }
        if second == 51 {
            writer.event(50 * SECOND + 3_000, Event::Elapsed { timer: Timer::TimeBox(one) });
            let how = "sent SIGCONT to process 4711".to_owned();
            writer.event(50 * SECOND + 5_000, Event::Reverted { injection: one, by: RevertedBy::Engine, how });
            writer.event(50 * SECOND + 6_000, Event::Elapsed { timer: Timer::ObserveEnd });
        }
        if writer.ended() {
            return writer;
        }
        samples(&mut writer, second);
    }
    panic!("the run did not end: {:?}", writer.state.phase);
}

/// The experiment above with a control group, and a comparison that only looks on.
pub fn compared_manifest() -> String {
    let step = "target: { process: { name: payments }, select: { percent: 30 }, control: true }";
    let comparison = r#"  compare:
    - name: payments answers
      http: { url: "http://127.0.0.1:{{target.port}}/health?token=url-secret", measure: latency }
      expect: { lt: 300ms }
      margin: 5%
      whenWorse: continue
  recovery:"#;
    MANIFEST.replace("target: { process: { name: payments }, select: { percent: 30 } }", step).replace("  recovery:", comparison)
}

/// A run whose target answers slowly and then not at all, while the one of its control group is fast.
pub fn compared() -> Writer {
    let mut writer = Writer::new(&compared_manifest());
    let one = InjectionId(1);
    for second in 0..=200 {
        if second == 20 {
            writer.event(20 * SECOND + 200, Event::Elapsed { timer: Timer::SteadyEnd });
            let target = TargetRef { injection: one, id: "process:4711:99".into(), label: "payments (pid 4711)".into() };
            let control = vec!["payments (pid 4713)".to_owned()];
            writer.event(20 * SECOND + 1_500, Event::Selected { node: 1, matched: 3, targets: vec![target], control });
            writer.event(20 * SECOND + 2_000, Event::Armed { injection: one });
            writer.event(20 * SECOND + 3_000, Event::Injected { injection: one });
            writer.event(20 * SECOND + 5_000, Event::Verified { injection: one, in_force: true, evidence: "state T".into() });
        }
        if second == 51 {
            writer.event(50 * SECOND + 3_000, Event::Elapsed { timer: Timer::TimeBox(one) });
            writer.event(50 * SECOND + 5_000, Event::Reverted { injection: one, by: RevertedBy::Engine, how: "SIGCONT".into() });
            writer.event(50 * SECOND + 6_000, Event::Elapsed { timer: Timer::ObserveEnd });
        }
        if writer.ended() {
            return writer;
        }
        writer.sample(second * SECOND + 10_000, 0, Value::Number(0.1));
        writer.sample(second * SECOND + 20_000, 1, Value::Number(0.001));
        writer.sample(second * SECOND + 30_000, 2, Value::Text("open".into()));
        if second >= 20 {
            answers(&mut writer, second);
        }
    }
    panic!("the run did not end: {:?}", writer.state.phase);
}

fn answers(writer: &mut Writer, second: u64) {
    let slow = match second {
        20..=30 => Measured::Value(Value::Number(0.25 + 0.1 * noise(second))),
        31..=49 => Measured::Unmeasured("no answer within 1s".into()),
        _ => Measured::Value(Value::Number(0.02)),
    };
    let fast = Measured::Value(Value::Number(0.02 + 0.01 * noise(second)));
    for (arm, target, measured) in [(Arm::Experiment, "process:4711:99", slow), (Arm::Control, "process:4713:101", fast)] {
        writer.event(second * SECOND + 50_000, Event::Compared { comparison: 0, arm, target: target.into(), took: 20_000, measured });
    }
}

/// A run that finds the system unsteady and touches nothing.
pub fn unsteady() -> Writer {
    let mut writer = Writer::new(MANIFEST);
    writer.sample(10_000, 0, Value::Number(0.9));
    assert!(writer.ended());
    writer
}

/// A run whose process was killed with a fault in force.
pub fn interrupted() -> Writer {
    let mut writer = deviated();
    let cut = writer.records.iter().position(|r| matches!(r.event, Event::Reverted { .. })).expect("a revert");
    writer.records.truncate(cut);
    writer
}

/// A held run of many samples, three of them bad without counting (they are before anything was touched).
pub fn long(samples: u64) -> Writer {
    let manifest = MANIFEST
        .replace("for: 20s, every: 1s", "for: 10h, every: 1s")
        .replace("        expect: { lt: 500ms }\n", "        expect: { lt: 500ms, for: 1h }\n");
    let mut writer = Writer::new(&manifest);
    for i in 0..samples {
        let bad = i == samples / 2;
        writer.sample(i * SECOND, 0, Value::Number(if bad { 7.5 } else { 0.1 + 0.1 * noise(i) }));
    }
    writer
}
