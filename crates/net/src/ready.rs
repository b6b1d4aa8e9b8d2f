//! Which sockets have something to do.
//!
//! Every socket has a [`Bell`]. The runtime rings it, the shard finds its token in the
//! [`ReadyList`] and polls that socket and no other, so a turn costs what is ready, not what is
//! open. A bell that rang and was not answered yet does not ring twice: the list is never longer
//! than the number of sockets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use trunkline_proxy::{ConnectionId, ListenerId};

/// What has something to do.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    /// A UDP socket can be read.
    Datagrams(ListenerId),
    /// A UDP socket has something in its error queue.
    Errors(ListenerId),
    /// A listener has connections to accept.
    Accept(ListenerId),
    /// A connection opened, can be read or can be written.
    Connection(ConnectionId),
}

/// The tokens whose bells rang, in order.
pub(crate) struct ReadyList {
    sender: UnboundedSender<Token>,
    receiver: UnboundedReceiver<Token>,
}

impl ReadyList {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = unbounded_channel();
        ReadyList { sender, receiver }
    }

    /// Makes the bells of this list.
    pub(crate) fn bells(&self) -> Bells {
        Bells(self.sender.clone())
    }

    /// The next token, if there is one.
    pub(crate) fn take(&mut self) -> Option<Token> {
        self.receiver.try_recv().ok()
    }

    /// Whether no bell waits for an answer.
    pub(crate) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// The next token; wakes the caller when there is one.
    pub(crate) fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Token> {
        match self.receiver.poll_recv(cx) {
            Poll::Ready(Some(token)) => Poll::Ready(token),
            // The list owns a sender, so it is never closed.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Makes bells.
#[derive(Clone)]
pub(crate) struct Bells(UnboundedSender<Token>);

impl Bells {
    /// A bell that has already rung: the socket is polled once and arms its bell by that.
    pub(crate) fn bell(&self, token: Token) -> Bell {
        let wire = Arc::new(Wire {
            token,
            rang: AtomicBool::new(false),
            list: self.0.clone(),
        });
        let bell = Bell {
            waker: Waker::from(Arc::clone(&wire)),
            wire,
        };
        bell.ring();
        bell
    }
}

/// One socket's way into the list.
pub(crate) struct Bell {
    wire: Arc<Wire>,
    waker: Waker,
}

impl Bell {
    /// Answers the bell: from here on it may ring again. Poll the socket with the context.
    pub(crate) fn answer(&self) -> Context<'_> {
        self.wire.rang.store(false, Ordering::Release);
        self.context()
    }

    /// For polling out of turn: the bell stays as it is.
    pub(crate) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    /// Puts the socket back at the end of the list: its turn is over, its work is not.
    pub(crate) fn ring(&self) {
        self.waker.wake_by_ref();
    }
}

struct Wire {
    token: Token,
    rang: AtomicBool,
    list: UnboundedSender<Token>,
}

impl Wake for Wire {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rang.swap(true, Ordering::AcqRel) {
            // Fails only when the shard is gone, and then nobody wants to know.
            let _ = self.list.send(self.token);
        }
    }
}
