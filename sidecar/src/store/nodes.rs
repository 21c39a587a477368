//! A store and its nodes, and the way to each.

use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};

use bowsprit_core::config::LimitStore;
use bowsprit_core::share::store::Unanswered;
use bowsprit_core::share::store::address::Node;
use tokio::sync::mpsc;

use super::ask::Ask;
use super::link;
use super::reach::Reach;
use crate::credentials::KeyFiles;
use crate::limits::{STORE_NODES, STORE_QUESTIONS};
use crate::net::client::Connections;
use crate::sync::locked;

/// What is done beside requests.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One store, asked about one thing.
pub(super) struct Store<Q> {
    pub(super) settings: LimitStore,
    pub(super) reach: Arc<Reach>,
    links: mpsc::UnboundedSender<Work>,
    /// To the node that the Secret names.
    pub(super) first: Arc<Link<Q>>,
    /// To those that it sends on to.
    others: Mutex<Vec<(Node, Arc<Link<Q>>)>>,
}

/// The way to one node.
pub(super) struct Link<Q> {
    questions: mpsc::Sender<Q>,
}

/// How stores are reached.
pub(super) struct Places<'a> {
    pub(super) keys: &'a Arc<KeyFiles>,
    pub(super) connections: &'a Arc<Connections>,
    pub(super) links: &'a mpsc::UnboundedSender<Work>,
}

impl Places<'_> {
    /// The store at this place: the one that is named already, or a new one.
    pub(super) fn store<Q: Ask>(&self, named: &Mutex<Vec<Weak<Store<Q>>>>, settings: &LimitStore) -> Arc<Store<Q>> {
        let mut named = locked(named);
        named.retain(|store| store.strong_count() > 0);
        let known = named.iter().filter_map(Weak::upgrade);
        if let Some(store) = known.into_iter().find(|store| store.settings == *settings) {
            return store;
        }
        let reach = Arc::new(Reach::new(settings, self.keys, self.connections));
        let store = Arc::new(Store {
            settings: settings.clone(),
            first: Link::new(None, &reach, self.links),
            reach,
            links: self.links.clone(),
            others: Mutex::default(),
        });
        named.push(Arc::downgrade(&store));
        store
    }
}

impl<Q: Ask> Store<Q> {
    /// The way to this node.
    pub(super) fn link(&self, node: Node) -> Result<Arc<Link<Q>>, Unanswered> {
        let mut others = locked(&self.others);
        if let Some((_, link)) = others.iter().find(|(known, _)| *known == node) {
            return Ok(Arc::clone(link));
        }
        if others.len() >= STORE_NODES {
            // Those that nobody's limit is at any more.
            others.retain(|(_, link)| Arc::strong_count(link) > 1);
        }
        if others.len() >= STORE_NODES {
            return Err(Unanswered::Moved);
        }
        let link = Link::new(Some(node.clone()), &self.reach, &self.links);
        others.push((node, Arc::clone(&link)));
        Ok(link)
    }
}

impl<Q: Ask> Link<Q> {
    fn new(to: Option<Node>, reach: &Arc<Reach>, links: &mpsc::UnboundedSender<Work>) -> Arc<Self> {
        let (questions, asked) = mpsc::channel(STORE_QUESTIONS);
        // The receiver lives as long as the process; it ends with the tests that do not run it.
        let _ = links.send(Box::pin(link::run(to, Arc::clone(reach), asked)));
        Arc::new(Self { questions })
    }

    pub(super) fn ask(&self, question: Q) -> Result<(), Unanswered> {
        self.questions.try_send(question).map_err(|_| Unanswered::Unreachable)
    }
}
