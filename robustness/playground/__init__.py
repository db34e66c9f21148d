"""A local web page on which one image, one attack and one verdict can be tried out."""
