"""What can be read into a cache: array files, folders of images, named data sets."""
