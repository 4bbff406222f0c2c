"""Measure, and keep what was measured in nbs/results, where the docs read it.

python -m benchmarks                     all but forms and writer
python -m benchmarks review [--run RUN]  screen alone, screen and reader, `generate` for every window and category:
                                         seconds and memory
python -m benchmarks training            a sentence for all categories at once, a sequence a pair, TRL on the same
                                         pairs: pairs and tokens a second
python -m benchmarks gpu                 a 3B model's shape in 4 bits, where there is a GPU: speed and memory of
                                         training and reading, kill and resume
python -m benchmarks forms               four forms of asking a model, on equally many training tokens of CUAD (an hour
                                         and more)
python -m benchmarks scale               week 1 on CUAD, where it is at hand, and on 250 to 1,000 synthetic contracts:
                                         seconds and memory of each stage
python -m benchmarks answers [--data D]  short answers by rule against those of CUAD's table, where both are at hand,
                                         from its quotes and from whole contracts
python -m benchmarks writer --run RUN    short answers by a writer, the rules and the base model, likewise
python -m benchmarks pdfs [--data DATA]  reading CUAD's real PDFs, where they are at hand: quotes found, time a page,
                                         scores from PDF and from text
python -m benchmarks fuzz                500 damaged files of each kind: read or refused, seconds and memory
"""

import argparse
import sys

from benchmarks import answers, forms, fuzz, gpu, pdfs, review, scale, training, writer

PARTS = ('review', 'training', 'gpu', 'scale', 'pdfs', 'fuzz', 'answers', 'forms', 'writer')


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description='Measure, and keep what was measured in nbs/results')
    parser.add_argument('parts', nargs='*', help=f'what to measure: {", ".join(PARTS)}; none: all but the last two')
    parser.add_argument(
        '--run', help='review: a run folder (default: what the package ships); writer: one that has a writer'
    )
    parser.add_argument(
        '--data',
        help='answers, writer, pdfs: a folder that `legal-llm data` wrote from CUAD (default: for pdfs, made anew; '
        'else what the package ships)',
    )
    parser.add_argument('--sizes', type=int, nargs='+', help='scale: numbers of synthetic contracts')
    args = parser.parse_args(argv)
    if unknown := [p for p in args.parts if p not in PARTS]:
        parser.error(f'there is no benchmark {unknown[0]!r}: choose of {", ".join(PARTS)}')
    for part in args.parts or PARTS[:-2]:
        print(f'{part}:', flush=True)
        if part == 'review':
            review.main(args.run)
        elif part == 'training':
            training.main()
        elif part == 'gpu':
            gpu.main()
        elif part == 'answers':
            answers.main(data=args.data)
        elif part == 'writer':
            if not args.run:
                parser.error('writer: give --run, a run folder that has a writer')
            writer.main(args.run, args.data)
        elif part == 'forms':
            forms.main()
        elif part == 'pdfs':
            pdfs.main(args.data)
        elif part == 'fuzz':
            fuzz.main()
        else:
            scale.main(args.sizes or scale.SIZES)
    return 0


if __name__ == '__main__':
    sys.exit(main())
