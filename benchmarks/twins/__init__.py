"""PyTorch twins of what gan_jax trains: same architecture, losses, optimizer and order of updates.

A file a family, each with one class of the form

    Twin(config, spec)             built from the very config that ours is built from; on another
                                   device under `with torch.device(...)`: a later `.to` would leave
                                   the averages behind
    compiles                       networks that torch.compile can take
    nets, optimizers, averages     by name, as in our TrainState
    maps                           linear layers that flatten or unflatten [C, H, W], for convert.py
    flax_name(name)                our name of a module
    step(batch, draws)             one training step; batch by stream, a list of draws
    sample(batch, draws)           images in eval mode, from the averaged weights

`draws` are the random numbers to use, by name; None draws them, as a user's code would. What is not
reproduced: in train mode a PyTorch network moves its running statistics at every pass, ours only
in its own update. That is no arithmetic more, and no loss sees them.
"""
