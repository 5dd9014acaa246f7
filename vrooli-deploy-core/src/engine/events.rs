use std::sync::Arc;

use super::event::Event;

type Sink = Arc<dyn Fn(&Event) + Send + Sync>;

/// Where events go. Called from the engine's task: be quick. The default drops them.
#[derive(Clone, Default)]
pub struct EventSink(Option<Sink>);

impl EventSink {
    /// Calls the function with each event, in order.
    #[must_use]
    pub fn new(sink: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sink)))
    }

    /// Sends one event.
    pub fn send(&self, event: &Event) {
        if let Some(sink) = &self.0 {
            sink(event);
        }
    }
}

impl std::fmt::Debug for EventSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "EventSink(on)" } else { "EventSink(off)" })
    }
}

/// Events to be read at leisure. Ends when every clone of its sink is gone. It never holds
/// up the engine: events that nobody has read yet are kept.
#[cfg(feature = "engine")]
#[derive(Debug)]
pub struct EventStream(tokio::sync::mpsc::UnboundedReceiver<Event>);

#[cfg(feature = "engine")]
impl EventStream {
    /// A sink, and the stream of what is sent to it.
    #[must_use]
    pub fn channel() -> (EventSink, Self) {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        // Nobody listens any more: no reason to stop a deployment.
        let sink = EventSink::new(move |event| drop(sender.send(event.clone())));
        (sink, Self(receiver))
    }

    /// The next event; `None` once the run is over and all were read.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

#[cfg(feature = "engine")]
impl futures_util::Stream for EventStream {
    type Item = Event;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Event>> {
        self.0.poll_recv(cx)
    }
}
