//! Completion on Metal: one shared event a queue, whose value is a tick and a part of it.
//!
//! Work of a queue is ordered by its event alone, because nothing else orders work on buffers whose hazards nobody
//! tracks: each command buffer waits for the value of the one before it and signals its own. The host is told by
//! completion handlers, since a command buffer that failed signals nothing; the handler does it in its place.

use objc2::runtime::ProtocolObject;
use objc2_metal::{MTLCommandBuffer, MTLDevice, MTLEvent, MTLSharedEvent};

use super::{Object, nothing};
use crate::error::Result;

/// Bits of an event's value below the tick.
const PART_BITS: u32 = 16;
/// The most parts that a submission is split into.
pub(super) const PARTS: u64 = 1 << PART_BITS;

/// The timeline of one queue as the device sees it.
#[derive(Debug)]
pub(super) struct Event {
    raw: Object<dyn MTLSharedEvent>,
}

/// A place on a queue's event: reached by the part of a submission that comes `left` before its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value(u64);

impl Value {
    /// What the end of a tick signals.
    pub(super) fn of_tick(tick: u64) -> Self {
        Self(tick << PART_BITS)
    }

    /// What the part of a tick signals that is followed by `left` others.
    pub(super) fn of_part(tick: u64, left: u64) -> Self {
        Self((tick << PART_BITS) - left.min(PARTS - 1))
    }
}

impl Event {
    pub(super) fn new(device: &ProtocolObject<dyn MTLDevice>) -> Result<Self> {
        Ok(Self { raw: device.newSharedEvent().ok_or_else(|| nothing("newSharedEvent"))? })
    }

    fn event(&self) -> &ProtocolObject<dyn MTLEvent> {
        ProtocolObject::from_ref(&*self.raw)
    }

    /// Has a command buffer wait, before all that is encoded after this.
    pub(super) fn encode_wait(&self, buffer: &ProtocolObject<dyn MTLCommandBuffer>, value: Value) {
        buffer.encodeWaitForEvent_value(self.event(), value.0);
    }

    /// Has a command buffer signal, after all that was encoded before this.
    pub(super) fn encode_signal(&self, buffer: &ProtocolObject<dyn MTLCommandBuffer>, value: Value) {
        buffer.encodeSignalEvent_value(self.event(), value.0);
    }

    /// Lets go on what waits for a command buffer that is over without having signalled. Nothing later has signalled,
    /// because it waits for this one.
    pub(super) fn reach(&self, value: Value) {
        if self.raw.signaledValue() < value.0 {
            self.raw.setSignaledValue(value.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_rise_from_part_to_part_and_from_tick_to_tick() {
        let values: Vec<_> =
            (1..4).flat_map(|tick| [3, 2, 1, 0].map(|left| Value::of_part(tick, left))).collect();
        assert!(values.is_sorted_by(|a, b| a < b), "{values:?}");
        assert_eq!(Value::of_part(7, 0), Value::of_tick(7));
        assert!(Value::of_part(8, u64::MAX) > Value::of_tick(7));
    }
}
