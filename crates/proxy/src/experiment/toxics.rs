//! `proxy.*`: each toxic as a fault, with units.

use std::marker::PhantomData;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use squall_engine::{
    AnyFault, ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Target,
    Undone, VerifyError,
};
use squall_model::{Bytes, Percent, Time};
use squall_undo::Armed;

use super::placed::{Placed, What, time_box};
use super::rate::ByteRate;
use super::target::ProxyFacts;
use crate::toxic::Direction;

/// A toxic as a fault.
struct ToxicFault<A>(PhantomData<fn(A)>);

/// What differs from toxic to toxic.
trait ToxicArgs: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    const META: Meta;
    const TOXIC: &'static str;
    /// Attribute, field, and what it is.
    fn attributes(&self) -> Vec<(&'static str, &'static str, Amount)>;
    fn stream(&self) -> Direction;
    fn toxicity(&self) -> Percent;
}

/// A value of the manifest, in the unit that the API takes.
enum Amount {
    Millis(Time),
    Micros(Time),
    Bytes(Bytes),
    /// KB/s, of 1000 bytes.
    Kilobytes(ByteRate),
    Share(Percent),
}

impl Amount {
    /// Whole ones of the unit; what is no whole number is what else to write.
    fn value(&self) -> Result<Value, String> {
        #[expect(clippy::cast_possible_truncation, reason = "times and sizes of a manifest are far below 2^63 of any unit")]
        let whole = |amount: f64, least: &str| {
            let off = (amount - amount.round()).abs() > 1e-6;
            if off { Err(format!("write whole multiples of {least}")) } else { Ok(json!(amount.round() as i64)) }
        };
        match self {
            Self::Millis(time) => whole(time.seconds() * 1e3, "1ms"),
            Self::Micros(time) => whole(time.seconds() * 1e6, "1us"),
            Self::Bytes(bytes) => i64::try_from(bytes.0).map(Value::from).map_err(|_| "write less than 8EiB".to_owned()),
            Self::Kilobytes(rate) if rate.0 < 1000 => Err("write 1KB/s or more; `proxy.timeout` lets nothing pass".into()),
            Self::Kilobytes(rate) => whole(rate.0 as f64 / 1e3, "1KB/s"),
            Self::Share(percent) => Ok(json!(percent.share())),
        }
    }
}

const fn downstream() -> Direction {
    Direction::Downstream
}

const fn every() -> Percent {
    Percent(100.0)
}

macro_rules! toxic_faults {
    ($(
        $args:ident $name:literal $toxic:literal, $summary:literal, $with:literal {
            $($(#[$meta:meta])* $field:ident: $type:ty = $attribute:literal $shown:literal $amount:ident,)*
        }
    )*) => {
        $(
            #[doc = $summary]
            #[derive(Debug, Deserialize, JsonSchema)]
            #[serde(rename_all = "camelCase", deny_unknown_fields)]
            struct $args {
                $($(#[$meta])* $field: $type,)*
                /// The direction: `downstream` is what comes from the upstream to the client.
                #[serde(default = "downstream")]
                stream: Direction,
                /// How many connections it works on.
                #[serde(default = "every")]
                toxicity: Percent,
            }

            impl ToxicArgs for $args {
                const META: Meta = Meta {
                    name: $name,
                    family: "proxy",
                    summary: $summary,
                    example: concat!("fault: ", $name, "\ntarget: { proxy: { name: payments } }\nwith: ", $with, "\nfor: 30s\n"),
                    targets: &["proxy"],
                    needs: &[],
                    undone: Undone::Ledger,
                    lasting: true,
                };
                const TOXIC: &'static str = $toxic;

                fn attributes(&self) -> Vec<(&'static str, &'static str, Amount)> {
                    vec![$(($attribute, $shown, Amount::$amount(self.$field)),)*]
                }

                fn stream(&self) -> Direction {
                    self.stream
                }

                fn toxicity(&self) -> Percent {
                    self.toxicity
                }
            }
        )*

        /// Every toxic as a fault.
        pub(super) fn all() -> Vec<Arc<dyn AnyFault>> {
            vec![$(Arc::new(ToxicFault::<$args>(PhantomData)),)*]
        }
    };
}

toxic_faults! {
    LatencyArgs "proxy.latency" "latency", "Delays everything that passes the proxy", "{ delay: 200ms, jitter: 50ms }" {
        /// How much later everything arrives.
        delay: Time = "latency" "delay" Millis,
        /// The delay is uniform in delay ± jitter.
        #[serde(default)]
        jitter: Time = "jitter" "jitter" Millis,
    }
    BandwidthArgs "proxy.bandwidth" "bandwidth", "Limits how fast bytes pass the proxy, on each connection", "{ rate: 1MB/s }" {
        /// Of each connection, in this direction.
        rate: ByteRate = "rate" "rate" Kilobytes,
    }
    SlowCloseArgs "proxy.slowClose" "slow_close", "Delays the end of each connection", "{ delay: 2s }" {
        /// How much later it ends.
        delay: Time = "delay" "delay" Millis,
    }
    SlowOpenArgs "proxy.slowOpen" "slow_open", "Delays the first bytes of each connection", "{ delay: 2s }" {
        /// How much later they arrive.
        delay: Time = "delay" "delay" Millis,
    }
    TimeoutArgs "proxy.timeout" "timeout", "Lets nothing pass, and closes each connection after a while, or never", "{ after: 5s }" {
        /// When each connection is closed; never where it is left out.
        #[serde(default)]
        after: Time = "timeout" "after" Millis,
    }
    StallArgs "proxy.stall" "stall", "Lets so many bytes of each connection pass, and then nothing for a while, or for good", "{ after: 4KB, duration: 5s }" {
        /// So many bytes pass before.
        #[serde(default)]
        after: Bytes = "bytes" "after" Bytes,
        /// Until the fault ends where it is left out.
        #[serde(default)]
        duration: Time = "duration" "duration" Millis,
    }
    ResetPeerArgs "proxy.resetPeer" "reset_peer", "Resets each connection", "{ after: 100ms }" {
        /// So long after the first bytes; at once where it is left out.
        #[serde(default)]
        after: Time = "timeout" "after" Millis,
    }
    SlicerArgs "proxy.slicer" "slicer", "Cuts what passes into small pieces", "{ size: 64B, variation: 32B, delay: 100us }" {
        /// Bytes of a piece, on average.
        size: Bytes = "average_size" "size" Bytes,
        /// Sizes are uniform in size ± variation.
        #[serde(default)]
        variation: Bytes = "size_variation" "variation" Bytes,
        /// Between two pieces.
        #[serde(default)]
        delay: Time = "delay" "delay" Micros,
    }
    LimitDataArgs "proxy.limitData" "limit_data", "Closes each connection after so many bytes", "{ bytes: 10KB }" {
        /// So many pass.
        bytes: Bytes = "bytes" "bytes" Bytes,
    }
    PacketLossArgs "proxy.packetLoss" "packet_loss", "Drops some of what passes, which breaks whatever counts on TCP", "{ loss: 5%, correlation: 25% }" {
        /// How many chunks are dropped.
        loss: Percent = "loss_rate" "loss" Share,
        /// How much one follows its neighbour: 0% is each on its own.
        #[serde(default = "none")]
        correlation: Percent = "correlation" "correlation" Share,
    }
}

const fn none() -> Percent {
    Percent(0.0)
}

impl<A: ToxicArgs> Fault for ToxicFault<A> {
    type Args = A;
    type Undo = Placed;

    const META: Meta = A::META;

    fn check(&self, args: &A) -> Vec<ArgError> {
        let wrong = |(_, field, amount): (_, &str, Amount)| {
            let hint = amount.value().err()?;
            Some(ArgError::field(field, "is no amount that a proxy takes", Some(hint)))
        };
        args.attributes().into_iter().filter_map(wrong).collect()
    }

    fn plan(&self, args: &A, target: &Target, _: &HostFacts) -> Result<Plan, PlanError> {
        let facts = ProxyFacts::of(target)?;
        let share = args.toxicity();
        let direction = json!(args.stream());
        let direction = direction.as_str().unwrap_or_default();
        let mechanism = format!("adds the toxic `{}` ({direction}, {share} of connections) through {}", A::TOXIC, facts.api);
        let undo = "removes the toxic; a `squall proxy` does so by itself 10 s after the time box".to_owned();
        Ok(Plan { changes: vec![PlannedChange { what: facts.edge(), mechanism, undo }], claims: Vec::new(), irreversible: false })
    }

    async fn inject(&self, args: &A, target: &Target, cx: &Cx<'_, Placed>) -> Result<(), InjectError> {
        let facts = ProxyFacts::of(target).map_err(|error| InjectError::Failed(error.message))?;
        let mut attributes = Map::new();
        for (name, field, amount) in args.attributes() {
            let value = amount.value().map_err(|hint| InjectError::Failed(format!("{field}: {hint}")))?;
            attributes.insert(name.to_owned(), value);
        }
        let mut body = json!({
            "name": cx.marker, "type": A::TOXIC, "stream": args.stream(), "toxicity": args.toxicity().share(), "attributes": attributes
        });
        if let Some(time) = time_box(cx.duration) {
            // Toxiproxy ignores what it does not know.
            body["for"] = json!(time);
        }
        let placed = Placed::on(&facts, What::Toxic(cx.marker.to_owned()));
        let _armed = cx.arm(&placed)?;
        placed.place(&body).await
    }

    async fn verify(&self, undo: &Placed) -> Result<Effect, VerifyError> {
        undo.look().await
    }

    async fn revert(&self, undo: &Placed, _: &Armed) -> Result<Reverted, RevertError> {
        undo.remove().await
    }
}
