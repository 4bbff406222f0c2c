"CUAD on a developer's machine. No contract of CUAD is part of the project."

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent


def find_dev_cuad() -> Path | None:
    """CUAD's JSON for development: the file that the variable `LEGAL_LLM_CUAD` names, else
    `../shared/data/cuad/CUAD_train_408.json.gz`, seen from the project's folder. None where there is none. Raises
    FileNotFoundError where the variable names no file.
    """
    named = os.environ.get('LEGAL_LLM_CUAD')
    if named and not Path(named).exists():
        raise FileNotFoundError(f"LEGAL_LLM_CUAD names {named}, which does not exist; correct or unset it")
    path = Path(named) if named else ROOT.parent / 'shared/data/cuad/CUAD_train_408.json.gz'
    return path if path.exists() else None


def find_dev_answers() -> Path | None:
    """CUAD's written answers for development: the file that the variable `LEGAL_LLM_ANSWERS` names, else
    `../answers/answers_408.json`, seen from the folder of CUAD's JSON. None where there is none. Raises
    FileNotFoundError where the variable names no file.
    """
    named, cuad = os.environ.get('LEGAL_LLM_ANSWERS'), find_dev_cuad()
    if named and not Path(named).exists():
        raise FileNotFoundError(f"LEGAL_LLM_ANSWERS names {named}, which does not exist; correct or unset it")
    path = Path(named) if named else cuad and cuad.parent.parent / 'answers/answers_408.json'
    return path if path and path.exists() else None
