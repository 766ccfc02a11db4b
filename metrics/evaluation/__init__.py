"""From images and detectors to scores: of generated images against real ones.

The way of a request, from the command to a number:

    calc_metrics.py      the command; `Request` checks its options
    session.Session      opens the network and the real images, builds the evaluator, and evaluates
    evaluator.Evaluator  features of the generated images, by `metrics.detectors` (`inception.py` has FID's resizing)
    reference            what is known of the real images (`real_images`): measured once, kept on disk (`array_file`)
    scores.score         which measure of `metrics/` makes a number of the two, such as `fid.frechet_distance`
"""
