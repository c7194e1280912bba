"""``make bench``: run every benchmark of this folder and print its ratios."""

from benchmarks import sharing

if __name__ == "__main__":
    print(sharing.main())
