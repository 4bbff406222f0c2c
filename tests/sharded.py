"""`legal-llm`, where accelerate shards a model on a processor too: it does so on GPUs only, and FSDP itself works on
both.
"""

import sys

from accelerate import state
from accelerate.utils import DistributedType

begin = state.AcceleratorState.__init__


def shard_anywhere(self, *args, fsdp_plugin=None, **kwargs):
    begin(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin


state.AcceleratorState.__init__ = shard_anywhere

if __name__ == '__main__':
    from legal_llm.cli import main

    sys.exit(main())
