"""A machine with GPUs, as far as legal_llm's rules and accelerate can tell; what they compute, the processor does.

Python imports this by itself in every process whose PYTHONPATH names this folder. `LEGAL_LLM_TEST_GPUS` says which GPUs
there are, as the fields of `Gpu`; `LEGAL_LLM_TEST_SCALE`, at which scale of the loss a training in float16 begins.
"""

import importlib.util
import json
import os
import sys


def see_gpus(platform):
    found = json.loads(os.environ['LEGAL_LLM_TEST_GPUS'])
    platform._gpus = lambda: [platform.Gpu(name, tuple(capability), gb) for name, capability, gb in found]


def scale_anywhere(accelerator):
    "accelerate leaves a processor's float16 without autocast and without a scaler, and torch has both."
    begin = accelerator.Accelerator.__init__

    def scaled(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        if self.state.mixed_precision == 'fp16' and self.device.type == 'cpu':
            import torch

            scale = float(os.environ.get('LEGAL_LLM_TEST_SCALE', 2**16))  # torch's own
            self.native_amp, self.scaler = True, torch.amp.GradScaler('cpu', init_scale=scale)

    accelerator.Accelerator.__init__ = scaled


class Changed:
    "Finds the modules that are to be changed behind their import, each once."

    changes = {'legal_llm.machine.platform': see_gpus, 'accelerate.accelerator': scale_anywhere}

    def find_spec(self, name, path=None, target=None):
        change = self.changes.pop(name, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            change(module)

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get('LEGAL_LLM_TEST_GPUS'):
    sys.meta_path.insert(0, Changed())
