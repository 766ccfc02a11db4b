"""Other methods of style transfer, on our encoder and decoder: tables that compare them are of methods, and not of codebases.

None of them is trained. What is: AdaConv, AdaIN and a predicted scale and shift, `network.TRANSFERS`.
"""

from networks.style_transfer.peers.fitted import Fitted
from networks.style_transfer.peers.gatys import Gatys
from networks.style_transfer.peers.patch_swap import PatchSwap
from networks.style_transfer.peers.peer import Peer
from networks.style_transfer.peers.wct import WCT
from networks.style_transfer.stylizer import Stylizer

PEERS: dict[str, type[Peer]] = {"wct": WCT, "patch-swap": PatchSwap, "fitted": Fitted, "gatys": Gatys}
DEFAULT_STEPS = {name: kind.default_steps for name, kind in PEERS.items() if kind.default_steps}  # of those that search
STEPS = ", ".join(f"{name} (default {steps})" for name, steps in DEFAULT_STEPS.items())
Method = Stylizer | Peer  # both have `encode_style_picture`, `stylize_picture` and `stylize_like`


def make_peer(name: str, stylizer: Stylizer, steps: int | None = None) -> Peer:
    """One of PEERS on the networks of `stylizer`, with that many steps if it searches. `InputError` where its decoder is of no
    use to the method."""
    return PEERS[name](stylizer, steps)
