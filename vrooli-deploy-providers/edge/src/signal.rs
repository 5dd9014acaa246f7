//! How one task of a worker tells another one something, without locks: all tasks of a worker
//! share a thread.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// One value on its way to the one task that waits for it.
#[derive(Debug)]
pub(crate) struct Signal<T: Copy> {
    value: Cell<Option<T>>,
    waker: RefCell<Option<Waker>>,
}

impl<T: Copy> Default for Signal<T> {
    fn default() -> Self {
        Self { value: Cell::new(None), waker: RefCell::new(None) }
    }
}

impl<T: Copy> Signal<T> {
    /// Sends a value; one that was not taken yet is replaced.
    pub(crate) fn send(&self, value: T) {
        self.value.set(Some(value));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(value) = self.value.take() {
            return Poll::Ready(value);
        }
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Goes on with a task until it is done or the value comes. The task stays where it is:
    /// a copy of it would make room for itself in everything that waits here.
    pub(crate) async fn or<F: Future>(&self, mut task: Pin<&mut F>) -> Result<F::Output, T> {
        poll_fn(|cx| match task.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll(cx).map(Err),
        })
        .await
    }
}

/// A set whose members are found again by number.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: RefCell<Vec<Option<Rc<T>>>>,
    free: RefCell<Vec<usize>>,
    count: Cell<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: RefCell::new(Vec::new()), free: RefCell::new(Vec::new()), count: Cell::new(0) }
    }
}

impl<T> Slots<T> {
    pub(crate) fn insert(&self, member: Rc<T>) -> usize {
        self.count.set(self.count.get() + 1);
        let mut slots = self.slots.borrow_mut();
        if let Some(index) = self.free.borrow_mut().pop() {
            slots[index] = Some(member);
            index
        } else {
            slots.push(Some(member));
            slots.len() - 1
        }
    }

    pub(crate) fn remove(&self, index: usize) {
        let removed = self.slots.borrow_mut().get_mut(index).and_then(Option::take);
        if removed.is_some() {
            self.count.set(self.count.get() - 1);
            self.free.borrow_mut().push(index);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count.get()
    }

    /// The members at this moment.
    pub(crate) fn members(&self) -> Vec<Rc<T>> {
        self.slots.borrow().iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[test]
    fn slots_are_used_again() {
        let slots = Slots::default();
        let first = slots.insert(Rc::new(1));
        let second = slots.insert(Rc::new(2));
        slots.remove(first);
        slots.remove(first);
        assert_eq!(slots.len(), 1);
        assert_eq!(slots.insert(Rc::new(3)), first);
        slots.remove(second);
        assert_eq!(slots.members(), [Rc::new(3)]);
    }

    #[tokio::test]
    async fn a_signal_ends_the_task_and_is_taken_once() {
        let signal = Signal::default();
        assert_eq!(signal.or(pin!(async { 5 })).await, Ok(5));
        signal.send("stop");
        let never = std::future::pending::<()>();
        assert_eq!(signal.or(pin!(never)).await, Err("stop"));
        assert_eq!(signal.or(pin!(async { 6 })).await, Ok(6));
    }
}
