// What draws the charts asks Intl for the browser's language while it loads. A browser in no language (LC_ALL=C) names one that Intl does not
// take, and nothing at all would be shown. Imported before everything else.
try {
  Intl.getCanonicalLocales(navigator.language);
} catch {
  Object.defineProperty(navigator, "language", { value: "en" });
}

export {};
