"""Charts as SVG: drawn small, so that a phone shows one whole, and coloured by the page's CSS."""
