//! Consumer and delegates of a job, as the notes keep them for the owner part of the API.

use super::*;

#[tokio::test(start_paused = true)]
async fn consumer_and_delegates_are_kept_beyond_the_jobs_end() {
    let delegate = AccountId::from([9; 32]);
    let with_delegate = manifest("ab").replacen('{', &format!(r#"{{"delegates":["{delegate}"],"#), 1);
    let mut world = World::new();
    world.deploy_manifest(1, JobKind::Service, &with_delegate);
    world.block().await;
    assert_eq!(world.chain.calls(), [WorkerCall::Start { job: 1 }]);
    for is_closed in [false, true] {
        let notes = world.store().stored_notes(1).unwrap().unwrap();
        assert_eq!(notes.closed, is_closed);
        assert_eq!(notes.consumer, Some(AccountId::from([1; 32])));
        assert_eq!(notes.delegates, [delegate]);
        world.chain.change(|state| state.jobs.clear());
        world.block().await;
    }
}
